"""Everything at once: pictures come, go and change while the index is rebuilt and backed up.

The torture test kills it.

Usage: python -m tests.support.storm DATA_DIR BACKUP_DIR SEED

Writes what it is about to do and what was acknowledged, a line each:
    adding NAME…   added NAME ID…   deleting NAME…   deleted NAME…   backed-up
"""

import random
import sys
import threading
import time
from pathlib import Path

from indexer.collection.backup import backup
from indexer.collection.collection import Collection
from indexer.errors import KallosError
from tests.support.build import build
from tests.support.pictures import new_image, unit_vectors

DIM = 16
BATCH = 5
SEGMENT_ROWS = 12  # so that segments come, grow and are replaced all the time
LOCK = threading.Lock()


def say(*words: object) -> None:
    with LOCK:
        sys.stdout.write(" ".join(map(str, words)) + "\n")
        sys.stdout.flush()


def vector_seed(name: str) -> int:
    return int(name.replace("-", ""))


def ingest(collection: Collection, seed: int) -> None:
    rng = random.Random(seed)
    mine: list[str] = []
    for number in range(10_000):
        names = [f"{seed}-{number}{i}" for i in range(BATCH)]
        say("adding", *names)
        images = [new_image(name) for name in names]
        vectors_ND = unit_vectors(1, DIM, vector_seed(names[0])).repeat(BATCH, axis=0)
        ids = collection.add(images, vectors_ND)
        say("added", *(f"{name}={image_id}" for name, image_id in zip(names, ids, strict=True)))
        mine += names
        if number % 3 == 2:
            gone = rng.sample(mine, BATCH)
            mine = [name for name in mine if name not in gone]
            known = collection.known()
            say("deleting", *gone)
            collection.delete([known[new_image(name).uri].id for name in gone])
            say("deleted", *gone)
        if number % 5 == 4:
            collection.patch(collection.known()[new_image(mine[0]).uri].id, {"stars": number})


def rebuild(collection: Collection, seed: int) -> None:
    rng = random.Random(seed)
    while True:
        build(collection, rng.choice(["ivf_sq8", "ivf_rabitq", "hnsw"]), reclaim=rng.random() < 0.5)
        time.sleep(rng.uniform(0.05, 0.3))  # the lock between compaction and backup is not a fair one


def save(data_dir: Path, target: Path) -> None:
    while True:
        backup(data_dir, target)
        say("backed-up")
        time.sleep(0.2)  # or it takes the lock again before the rebuild has woken up


def main(data_dir: str, target: str, seed: str) -> None:
    collection = Collection.open(Path(data_dir), model_id="storm", dim=DIM, segment_rows=SEGMENT_ROWS)
    work = (
        lambda: ingest(collection, int(seed)),
        lambda: rebuild(collection, int(seed)),
        lambda: save(Path(data_dir), Path(target)),
    )
    for one in work:
        threading.Thread(target=_loud, args=(one,), daemon=True).start()
    threading.Event().wait(240)  # killed long before


def _loud(work: object) -> None:
    assert callable(work)
    while True:
        try:
            work()
        except KallosError as error:  # the compaction that a backup made wait, or the reverse
            if error.code != "busy":
                say("error", type(error).__name__, str(error))
                raise
            continue


if __name__ == "__main__":
    main(*sys.argv[1:])
