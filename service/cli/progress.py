"""Long work on a terminal: a progress bar, and a polite Ctrl-C."""

import signal
from types import FrameType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.cli.console import ERR

FAILURES_SHOWN = 20  # on a terminal; --json lists all


class Interrupt:
    """Ctrl-C once: finish what is in flight and say where things stand. Twice: stop at once."""

    def __init__(self) -> None:
        self._asked = False

    def is_set(self) -> bool:
        return self._asked

    def __enter__(self) -> "Interrupt":
        self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        ERR.print("stopping after what is in flight; press Ctrl-C again to stop at once")


def steps_bar() -> Progress:
    """A progress bar on stderr with a rate and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=ERR,
    )
