"""A process that stores pictures and says which ones were acknowledged; `test_crash` kills it.

Usage: python -m tests.support.writer DATA_DIR FIRST BATCHES
"""

import sys
from pathlib import Path

from indexer.collection import Collection
from tests.support.pictures import new_image, unit_vectors

DIM = 16
BATCH = 7


def main(data_dir: str, first: int, batches: int) -> None:
    collection = Collection.open(Path(data_dir), model_id="test-1", dim=DIM)
    for batch in range(first, first + batches):
        images = [new_image(f"{batch}-{i}") for i in range(BATCH)]
        ids = collection.add(images, unit_vectors(BATCH, DIM, seed=batch))
        for image, image_id in zip(images, ids, strict=True):
            sys.stdout.write(f"{image.uri} {image_id}\n")
        sys.stdout.flush()
        if batch % 3 == 2:
            collection.compact(family="ivf_sq8")
            sys.stdout.write("compacted\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
