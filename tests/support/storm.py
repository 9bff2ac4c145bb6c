"""Everything at once: pictures come, go and change while the index is rebuilt and backed up.

The torture test kills it.

Usage: python -m tests.support.storm DATA_DIR BACKUP_DIR SEED

Writes what it is about to do and what was acknowledged, a line each:
    adding NAME…   added NAME ID…   deleting NAME…   deleted NAME…   backed-up

It ends by itself after so much work that every named point must have been reached, however long it takes.
"""

import itertools
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from indexer.collection.backup import backup
from indexer.collection.collection import Collection
from tests.support.build import build
from tests.support.pictures import new_image, unit_vectors

DIM = 16
BATCH = 5
MOST_IMAGES = 150  # of a run, so that a slow machine rebuilds no larger collection than a fast one
MOST_REBUILDS = 400
MOST_BACKUPS = 2000  # more only if the rebuilds starve
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
    for number in itertools.count():
        names = [f"{seed}-{number}{i}" for i in range(BATCH)]
        say("adding", *names)
        images = [new_image(name) for name in names]
        vectors_ND = unit_vectors(1, DIM, vector_seed(names[0])).repeat(BATCH, axis=0)
        ids = collection.add(images, vectors_ND)
        say("added", *(f"{name}={image_id}" for name, image_id in zip(names, ids, strict=True)))
        mine += names
        if number % 3 == 2 or len(mine) > MOST_IMAGES:
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
    for _ in range(MOST_REBUILDS):
        build(collection, rng.choice(["ivf_sq8", "ivf_rabitq", "hnsw"]), reclaim=rng.random() < 0.5)
        time.sleep(rng.uniform(0.0, 0.05))


def save(data_dir: Path, target: Path) -> None:
    for _ in range(MOST_BACKUPS):
        backup(data_dir, target)
        say("backed-up")


def main(data_dir: str, target: str, seed: str) -> None:
    collection = Collection.open(Path(data_dir), model_id="storm", dim=DIM, segment_rows=SEGMENT_ROWS)
    work = (
        lambda: ingest(collection, int(seed)),
        lambda: rebuild(collection, int(seed)),
        lambda: save(Path(data_dir), Path(target)),
    )
    ended = threading.Event()
    for one in work:
        threading.Thread(target=_loud, args=(one, ended), daemon=True).start()
    ended.wait()  # killed long before


def _loud(work: Callable[[], None], ended: threading.Event) -> None:
    try:
        work()
    except BaseException as error:
        say("error", type(error).__name__, str(error))
        raise
    finally:
        ended.set()


if __name__ == "__main__":
    main(*sys.argv[1:])
