"""What a contender is: an engine that is built once, kept on disk, and then asked one query at a time.

Dimension key   D embedding, K results
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from jaxtyping import Float32, Int64
from numpy import ndarray

from benchmarks.processes import Clock
from indexer.disk.files import remove_tree, size_of
from indexer.errors import UnavailableError

LINKS = 16  # of every graph
BUILD_QUEUE = 100
GRAPH_EFFORTS = (16, 32, 64, 128, 256, 512, 1024)

Effort = Any
"""The one knob: a recall, a queue length, lists probed, or (lists probed, candidates for each result)."""


class Contender(Protocol):
    """`build` is a step of its own, so that what takes half an hour is done once.

    `search` may be called from several threads, each time with another effort.
    """

    packages: ClassVar[Sequence[str]]  # as PyPI names them
    efforts: ClassVar[Sequence[Effort]]
    alone: ClassVar[bool]  # whether it needs a network of its own, as it listens on every interface

    @classmethod
    def build(cls, data_dir: Path, home: Path, dim: int) -> float:
        """Everything that `open` reads, from the rows of `data_dir` into the empty folder `home`.

        Returns:
            CPU seconds of processes that are neither this one nor its children.
        """
        ...

    @classmethod
    def open(cls, data_dir: Path, home: Path, dim: int) -> Self: ...

    @property
    def servers(self) -> Sequence[int]:
        """Processes, with all their children, that answer besides this one."""
        ...

    def search(self, query_D: Float32[ndarray, " d"], k: int, effort: Effort) -> Int64[ndarray, " k"]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Built:
    """What building took: CPU seconds hold whatever else the machine did meanwhile, wall seconds do not."""

    wall_s: float
    cpu_s: float
    disk_mb: float
    threads: int


def home_of(data_dir: Path, name: str) -> Path:
    return data_dir / "contenders" / name


def built(data_dir: Path, name: str) -> Built | None:
    """What an earlier build took, when there is a whole one."""
    kept = home_of(data_dir, name) / "built.json"
    return Built(**json.loads(kept.read_text())) if kept.exists() else None


def build(contender: type[Contender], data_dir: Path, name: str, dim: int, threads: int) -> Built:
    """Build once; the next run finds what is there."""
    done = built(data_dir, name)
    if done is None:
        home = home_of(data_dir, name)
        remove_tree(home)
        home.mkdir(parents=True)
        clock = Clock.start()
        elsewhere_s = contender.build(data_dir, home, dim)
        took = clock.read()
        done = Built(
            round(took.wall_s, 1), round(took.cpu_s + elsewhere_s, 1), round(size_of(home) / 1e6, 1), threads
        )
        (home / "built.json").write_text(json.dumps(asdict(done)) + "\n")
    return done


def check_installed(name: str, packages: Sequence[str]) -> None:
    """UnavailableError with the command that helps, when one of `packages` is missing."""
    missing = missing_of(packages)
    if missing:
        raise UnavailableError(
            f"contender {name!r} needs {', '.join(missing)}: run `pip install {' '.join(missing)}`"
        )


def missing_of(packages: Sequence[str]) -> list[str]:
    missing = []
    for package in packages:
        try:
            version(package.partition("==")[0].partition("[")[0])
        except PackageNotFoundError:
            missing.append(package)
    return missing
