"""What of a network is trained: a LoRA beside its weights (Hu et al., arXiv:2106.09685), or all of it.

    W' = W + (alpha / rank) B A,     B = 0 at the start, so that training starts from the base model exactly

A file holds the keys of diffusers' LoRA files (`unet.….lora_A.weight`), with alpha / rank folded into B: who
reads it without knowing alpha applies it at full strength.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import ModelMixin
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from indexer.errors import InvalidInputError
from training.policies.options import Adapter
from training.policies.policy import Policy

NAME = "default"
LORA_FILE = "pytorch_lora_weights.safetensors"  # diffusers' own name
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"


def attach(network: ModelMixin, adapter: Adapter, seed: int) -> None:
    """Freeze the network, then let train what `adapter` says; A is drawn from `seed`.

    Raises InvalidInputError: no layer ends in one of the targets.
    """
    network.requires_grad_(adapter.rank == 0)
    if adapter.rank == 0:
        return
    config = LoraConfig(r=adapter.rank, lora_alpha=adapter.alpha, target_modules=list(adapter.targets))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network.add_adapter(config, adapter_name=NAME)
        except ValueError as error:
            raise InvalidInputError(f"adapter targets {', '.join(adapter.targets)}: {error}") from error


def trainable(network: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]


def save(network: ModelMixin, adapter: Adapter, part: str, folder: Path) -> Path:
    """Write what was trained below `folder`: `adapter/…` or `weights/…`; float32.

    Args:
        network: With the adapter attached.
        adapter: As it was attached.
        part: The network's name in its pipeline: `unet` or `transformer`.
        folder: Of the run.
    """
    if adapter.rank == 0:
        path = folder / "weights" / WEIGHTS_FILE
        tensors = {name: weight.detach() for name, weight in network.named_parameters()}
    else:
        path = folder / "adapter" / LORA_FILE
        scale = adapter.alpha / adapter.rank
        tensors = {
            f"{part}.{name}": scale * weight if ".lora_B." in name else weight
            for name, weight in get_peft_model_state_dict(network, adapter_name=NAME).items()
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    save_file({name: tensor.float().cpu().contiguous() for name, tensor in tensors.items()}, beside)
    beside.replace(path)
    return path


@contextmanager
def holding(policy: Policy, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Meanwhile the trained weights are `values`: the reference's, or a moving average's.

    With the values that training started from it is the base model, be it a LoRA (B = 0) or every weight.
    """
    own = {name: weight.data for name, weight in policy.trainable()}
    try:
        for name, weight in policy.trainable():
            weight.data = values[name]
        yield
    finally:
        for name, weight in policy.trainable():
            weight.data = own[name]


def copy_of(weights: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in weights}
