"""Make `import open_clip` work in tests where torchvision's compiled operators do not fit torch."""

import torch


def declare_missing_operators() -> None:
    """Declare the signatures that `import torchvision` describes when its compiled part did not load.

    PyPI's torchvision is built against PyPI's torch; beside a torch from another index its compiled part does
    not load, and the import fails on the first operator that it wants to describe. open_clip uses only the
    pure-Python transforms, so the signatures are enough. Kallos itself never does this: for a user it is a
    broken installation, and is reported as one.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", signature)
