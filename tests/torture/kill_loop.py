"""SIGKILL at random moments and at every named point, while everything happens at once; then, every time:

every acknowledged picture is there, none twice, none that was never added, files and database agree, search
equals the oracle, and the last backup restores to a whole collection.
"""

import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from indexer.collection.backup import restore
from indexer.collection.collection import Collection
from indexer.collection.verify import verify
from tests.support.pictures import new_image, unit_vectors
from tests.support.processes import program
from tests.support.storm import DIM, vector_seed

LONGEST_S = 1.5  # from the first line of a run to its kill


@dataclass
class Ledger:
    """What a reader of the output knows: names by what must, may and must not be there."""

    ids: dict[str, int] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    backed_up: bool = False

    def read(self, output: str) -> None:
        for line in output.splitlines(keepends=True):
            if not line.endswith("\n"):
                continue
            word, *rest = line.split()
            assert word != "error", line
            if word == "adding":
                self.tried |= set(rest)
            elif word == "added":
                self.ids |= {name: int(number) for name, _, number in (one.partition("=") for one in rest)}
            elif word == "deleting":
                self.leaving |= set(rest)
            elif word == "deleted":
                self.gone |= set(rest)
            self.backed_up |= word == "backed-up"


def run(data_dir: Path, target: Path, *, seed: int, ledger: Ledger, point: str | None) -> None:
    """Start a storm, kill it, and read what it had acknowledged."""
    rng = random.Random(seed)
    environment = {"KALLOS_CRASH_AT": point or ""}
    with program("tests.support.storm", data_dir, target, seed, environment=environment) as storm:
        assert storm.stdout is not None
        lines = [storm.stdout.readline()]
        if point is None:
            time.sleep(rng.uniform(0.0, LONGEST_S))
            storm.kill()
        lines.append(storm.stdout.read())
        ledger.read("".join(lines))
        assert storm.wait() == -signal.SIGKILL, f"{point} was never reached"


def check(data_dir: Path, ledger: Ledger) -> None:
    """The promises, one by one."""
    assert not (problems := verify(data_dir, full=True).problems), problems
    collection = Collection.open(data_dir, model_id="storm", dim=DIM)
    try:
        snapshot = collection.snapshot()
        rows = snapshot.scroll(limit=1_000_000)
        names = [row.uri.removeprefix("/pictures/").removesuffix(".png") for row in rows]
        assert len(set(names)) == len(names) == snapshot.images
        present = dict(zip(names, rows, strict=True))
        must = {name for name in ledger.ids if name not in ledger.leaving}
        assert must <= present.keys(), f"lost: {sorted(must - present.keys())[:5]}"
        assert not (present.keys() & ledger.gone), "a deletion was undone"
        assert present.keys() <= ledger.tried, "a picture that nobody added"
        for name in must:
            assert present[name].id == ledger.ids[name]
        if rows:
            _search_equals_the_oracle(collection, names)
    finally:
        collection.close()


def _search_equals_the_oracle(collection: Collection, names: list[str]) -> None:
    snapshot = collection.snapshot()
    expected_ND = np.concatenate(
        [unit_vectors(1, DIM, vector_seed(name[:-1] + "0")) for name in names]
    ).astype(np.float16)
    stored = snapshot.scroll(limit=1_000_000)
    by_name = {row.uri: row for row in stored}
    ordered = [by_name[new_image(name).uri] for name in names]
    np.testing.assert_array_equal(
        snapshot.vectors([row.id for row in ordered]), expected_ND.astype(np.float32)
    )
    query_D = unit_vectors(1, DIM, seed=3)[0]
    scores_N = expected_ND.astype(np.float32) @ query_D
    found = snapshot.nearest(query_D, 10, recall=1.0)
    np.testing.assert_allclose(found.scores_K, np.sort(scores_N)[::-1][:10], atol=1e-6)


def kill_loop(folder: Path, points: Sequence[str | None], *, seed: int) -> None:
    """A storm over one data directory for each point; None is a random moment."""
    data_dir, target = folder / "data", folder / "backup"
    ledger = Ledger()
    for number, point in enumerate(points):
        moment = point or "a random moment"
        sys.stderr.write(f"run {number + 1} of {len(points)}, seed {seed + number}, {moment}\n")
        run(data_dir, target, seed=seed + number, ledger=ledger, point=point)
        check(data_dir, ledger)
        if ledger.backed_up:
            restored = folder / f"restored-{number}"
            restore(target, restored)
            assert not (problems := verify(restored, full=True).problems), problems
