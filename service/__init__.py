"""HTTP, command line and gallery.

app          the application; `wiring` is the only place where its parts are chosen
settings     every KALLOS_… variable
routes       one file for each resource: parse, one call, format
cli          the `kallos` command
jobs         work that survives a restart
generation   pictures on demand
gallery      the page, without a build
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.app import create_app as create_app
    from service.settings import Settings as Settings

_EXPORTS = {
    "Settings": "service.settings",
    "create_app": "service.app",
}


def __getattr__(name: str) -> object:
    """Imported when it is asked for: `import service` alone loads nothing heavy."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
