"""Libraries that only some commands need, and that may not be there, or not fit together."""

from collections.abc import Iterator
from contextlib import contextmanager

from indexer.errors import UnavailableError


@contextmanager
def heavy_imports(extra: str = "train") -> Iterator[None]:
    """Around nothing but imports: one that fails says what to install.

    RuntimeError is torchvision's, where it was built for another torch; without any, everything here works.
    """
    try:
        yield
    except (ImportError, RuntimeError) as error:
        raise UnavailableError(
            f"what this needs does not load ({error}); pip install 'kallos[{extra}]'; where torchvision is "
            "installed, it has to come from the same package index as torch"
        ) from error
