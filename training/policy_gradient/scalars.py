"""The numbers of an epoch as TensorBoard reads them; without TensorBoard the same is in metrics.jsonl."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from tensorboardX import SummaryWriter


class Scalars:
    """`folder` None writes nothing. What a killed run wrote of epochs after `done` is hidden."""

    def __init__(self, folder: Path | None, done: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=done + 1) if folder else None

    def write(self, epoch: int, row: Mapping[str, object]) -> None:
        if self._writer is not None:
            for name, value in _flat(row):
                self._writer.add_scalar(name, value, epoch)
            self._writer.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()


def _flat(row: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", float(value)
