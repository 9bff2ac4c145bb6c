"""All that a run needs to go on to the numbers that it would have reached: weights, optimiser, buffers.

A checkpoint is written beside and renamed, so that it is whole or not there; the one before is kept.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from indexer.disk.files import sync_file, sync_folder
from indexer.errors import CorruptStoreError, StoreError
from training.policy_gradient.trainer import Trainer

KEPT = 2
PATTERN = "checkpoint-*.safetensors"


def save(trainer: Trainer, folder: Path, epoch: int) -> Path:
    """Write the state after `epoch` epochs.

    Raises StoreError: the disk is full or cannot be written; what lay there is untouched.
    """
    path = folder / f"checkpoint-{epoch:06d}.safetensors"
    metadata = {"epoch": str(epoch), "buffers": json.dumps(trainer.buffers.state())}
    save_weights(_tensors(trainer), path, metadata)
    for old in sorted(folder.glob(PATTERN))[:-KEPT]:
        old.unlink()
    return path


def save_weights(tensors: Mapping[str, Tensor], path: Path, notes: Mapping[str, str]) -> None:
    """Write beside, then rename. Raises StoreError as `save` does."""
    beside = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, beside, dict(notes))
        sync_file(beside)
        beside.replace(path)
        sync_folder(path.parent)
    except (OSError, SafetensorError) as error:
        beside.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written: {error}. What lay there before is whole") from error


def load_weights(path: Path) -> dict[str, Tensor]:
    """Raises CorruptStoreError: damaged."""
    try:
        found: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CorruptStoreError(f"{path}: not weights: {error}") from error
    return found


def latest(folder: Path) -> Path | None:
    return max(folder.glob(PATTERN), default=None)


def restore(trainer: Trainer, path: Path) -> int:
    """Make the trainer what it was; returns the number of epochs that were done.

    Raises CorruptStoreError: damaged, or of a run with other weights.
    """
    try:
        with safe_open(path, "pt") as file, torch.no_grad():
            for name, weight in trainer.policy.trainable():
                weight.copy_(file.get_tensor(f"weight.{name}"))
                trainer.average[name].copy_(file.get_tensor(f"average.{name}"))
                trainer.optimizer.state[weight] = {
                    "step": file.get_tensor(f"step.{name}"),
                    "exp_avg": torch.empty_like(weight).copy_(file.get_tensor(f"first.{name}")),
                    "exp_avg_sq": torch.empty_like(weight).copy_(file.get_tensor(f"second.{name}")),
                }
            trainer.buffers.restore(json.loads(file.metadata()["buffers"]))
            return int(file.metadata()["epoch"])
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise CorruptStoreError(f"{path}: not a checkpoint of this run: {error}") from error


def _tensors(trainer: Trainer) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, weight in trainer.policy.trainable():
        moments = trainer.optimizer.state[weight]
        tensors[f"weight.{name}"], tensors[f"average.{name}"] = weight.detach(), trainer.average[name]
        tensors[f"first.{name}"], tensors[f"second.{name}"] = moments["exp_avg"], moments["exp_avg_sq"]
        tensors[f"step.{name}"] = moments["step"]
    return tensors
