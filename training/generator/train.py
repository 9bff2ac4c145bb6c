"""Train the builtin generator: several processes of one thread each, whose gradients are averaged.

On two shared cores two such processes beat one process of two threads. A step's pictures, times and noise
follow from (seed, step, process), so a run that is stopped goes on to the numbers that it would have reached.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from diffusers import UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from training.generator.config import GeneratorConfig
from training.generator.model import build, follow, learning_rate, loss
from training.generator.prepare import NOTHING, Prepared, load_prepared

KEPT_CHECKPOINTS = 2
LOG_EVERY = 50


def train(config: GeneratorConfig, folder: Path) -> Path:
    """Train on what `prepare` wrote into `folder`, from where a run stopped; returns the last checkpoint."""
    processes = config.training.processes
    if processes == 1:
        _work(0, config, folder)
    else:
        (folder / "meeting").unlink(missing_ok=True)
        spawn(_work, (config, folder), nprocs=processes)
    return latest_checkpoint(folder)[1]


@dataclass(frozen=True, slots=True)
class State:
    """All that a step changes."""

    unet: UNet2DConditionModel
    ema: dict[str, Tensor]
    optimizer: torch.optim.AdamW


def _work(rank: int, config: GeneratorConfig, folder: Path) -> None:
    torch.set_num_threads(1)
    processes = config.training.processes
    if processes > 1:
        dist.init_process_group(
            "gloo", f"file://{(folder / 'meeting').absolute()}", rank=rank, world_size=processes
        )
    state = start(config)
    first, path = latest_checkpoint(folder)
    spent_s = 0.0
    if first:
        load_state(state, path)
        spent_s = spent(path)
    prepared = load_prepared(folder)
    losses: list[float] = []
    for step in range(first, config.training.steps):
        losses.append(train_step(state, prepared, config, step, rank))
        done = step + 1
        last = done == config.training.steps
        cpu_s = spent_s + processes * time.process_time()
        if rank == 0 and (last or done % LOG_EVERY == 0):
            _log(folder, {"step": done, "loss": float(np.mean(losses)), "cpu_s": cpu_s})
            losses.clear()
        if rank == 0 and (last or done % config.training.checkpoint_every == 0):
            save_state(state, folder, done, cpu_s)
    if processes > 1:
        dist.destroy_process_group()


def start(config: GeneratorConfig) -> State:
    torch.manual_seed(config.seed)
    unet = build(config).to(memory_format=torch.channels_last)
    training = config.training
    optimizer = torch.optim.AdamW(
        unet.parameters(), training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
    return State(unet, {name: weight.detach().clone() for name, weight in unet.named_parameters()}, optimizer)


def train_step(state: State, prepared: Prepared, config: GeneratorConfig, step: int, rank: int) -> float:
    """One batch of this process, one averaged update; returns this process's loss."""
    training = config.training
    value = batch_loss(state.unet, prepared, config, step, rank)
    state.optimizer.zero_grad()
    value.backward()
    if training.processes > 1:
        _average_gradients(state.unet, training.processes)
    torch.nn.utils.clip_grad_norm_(state.unet.parameters(), training.clip_norm)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(training, step)
    state.optimizer.step()
    # A young average would otherwise remember the random weights for the whole of a short run.
    follow(state.ema, state.unet.named_parameters(), min(training.ema, (1 + step) / (10 + step)))
    return value.item()


def batch_loss(
    unet: UNet2DConditionModel, prepared: Prepared, config: GeneratorConfig, step: int, rank: int
) -> Tensor:
    """The loss of the pictures, times and noise that belong to (seed, step, rank)."""
    training = config.training
    rng = np.random.default_rng((config.seed, 3, step, rank))
    chosen_B = rng.integers(len(prepared.text_M), size=training.batch)
    text_B = np.where(rng.random(training.batch) < training.drop_text, NOTHING, prepared.text_M[chosen_B])
    noise_rng = torch.Generator().manual_seed(int(rng.integers(2**62)))
    clean, token, pooled = (
        torch.from_numpy(array.astype(np.float32))
        for array in (prepared.latent_MKHW[chosen_B], prepared.token_ULE[text_B], prepared.pooled_UE[text_B])
    )
    return loss(unet, clean.to(memory_format=torch.channels_last), token, pooled, config, noise_rng)


def _average_gradients(unet: UNet2DConditionModel, processes: int) -> None:
    gradients = [weight.grad for weight in unet.parameters() if weight.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients]) / processes
    dist.all_reduce(flat)
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, part in zip(gradients, flat.split(sizes), strict=True):
        gradient.copy_(part.view(gradient.shape))


def latest_checkpoint(folder: Path) -> tuple[int, Path]:
    """(steps done, file); (0, …) where there is none."""
    found = sorted(folder.glob("checkpoint-*.safetensors"))
    return (int(found[-1].stem.partition("-")[2]), found[-1]) if found else (0, folder)


def save_state(state: State, folder: Path, step: int, cpu_s: float) -> None:
    tensors: dict[str, Tensor] = {}
    for name, weight in state.unet.named_parameters():
        moments = state.optimizer.state[weight]
        tensors[f"weight.{name}"], tensors[f"ema.{name}"] = weight.detach(), state.ema[name]
        tensors[f"first.{name}"], tensors[f"second.{name}"] = moments["exp_avg"], moments["exp_avg_sq"]
    beside = folder / "checkpoint.part"
    metadata = {"step": str(step), "cpu_s": f"{cpu_s:.1f}"}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside, metadata)
    beside.replace(folder / f"checkpoint-{step:06d}.safetensors")
    for old in sorted(folder.glob("checkpoint-*.safetensors"))[:-KEPT_CHECKPOINTS]:
        old.unlink()


def load_state(state: State, path: Path) -> None:
    with safe_open(path, "pt") as file:
        step = torch.tensor(float(file.metadata()["step"]))
        with torch.no_grad():
            for name, weight in state.unet.named_parameters():
                weight.copy_(file.get_tensor(f"weight.{name}"))
                state.ema[name].copy_(file.get_tensor(f"ema.{name}"))
                state.optimizer.state[weight] = {
                    "step": step.clone(),
                    "exp_avg": torch.empty_like(weight).copy_(file.get_tensor(f"first.{name}")),
                    "exp_avg_sq": torch.empty_like(weight).copy_(file.get_tensor(f"second.{name}")),
                }


def spent(path: Path) -> float:
    """CPU seconds of all processes up to a checkpoint."""
    with safe_open(path, "pt") as file:
        return float(file.metadata()["cpu_s"])


def ema_weights(path: Path) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        names = [name for name in file.keys() if name.startswith("ema.")]  # noqa: SIM118  # not a dict
        return {name.removeprefix("ema."): file.get_tensor(name) for name in names}


def _log(folder: Path, row: dict[str, float]) -> None:
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
