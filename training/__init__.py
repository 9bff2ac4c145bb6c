"""Offline learning and evaluation, on weights that cross to the service as files.

objectives       PCPO, PPO, DPO: equations only
diffusion        samplers as tables of linear steps
policies         what is trained: the builtin generator, SD, SDXL, SD 3, FLUX
policy_gradient  the trainer, its configuration, its run folder
spro             self-play on a prompt guider, and on pictures
rewards          what is rewarded, and what is held out
encoder, generator, rankability   recipes of what Kallos ships, and its evaluation
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.cli import main as main

_EXPORTS = {
    "main": "training.cli",
}


def __getattr__(name: str) -> object:
    """Imported when it is asked for: `import training` alone loads nothing heavy."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
