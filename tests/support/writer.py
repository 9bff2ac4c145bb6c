"""A process that stores pictures and says which ones were acknowledged; `test_crash` kills it.

Usage: python -m tests.support.writer DATA_DIR FIRST BATCHES
"""

import sys
from pathlib import Path

from indexer.collection.collection import Collection
from tests.support.build import build
from tests.support.pictures import new_image, unit_vectors

DIM = 16
BATCH = 7
SEGMENT_ROWS = 5  # one with every batch that comes behind an index
SCRATCH = "scratch"  # pictures that come and go, so that there is something to reclaim


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main(data_dir: str, first: int, batches: int) -> None:
    collection = Collection.open(Path(data_dir), model_id="test-1", dim=DIM, segment_rows=SEGMENT_ROWS)
    for batch in range(first, first + batches):
        images = [new_image(f"{batch}-{i}") for i in range(BATCH)]
        ids = collection.add(images, unit_vectors(BATCH, DIM, seed=batch))
        for image, image_id in zip(images, ids, strict=True):
            say(image.uri, image_id)
        scratch = collection.add([new_image(f"{SCRATCH}-{batch}")], unit_vectors(1, DIM, seed=batch))
        collection.delete(scratch)
        if batch % 3 == 2:
            build(collection, "ivf_sq8", reclaim=batch % 2 == 1)
            say("compacted")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
