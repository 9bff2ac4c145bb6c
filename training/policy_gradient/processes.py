"""Several processes that train one policy: one a GPU, started by `accelerate launch`; or only this one.

Every process holds the same weights. They share the parts that an epoch's pictures are drawn in, add up what
they found, and take the same step.
"""

from collections.abc import Iterable

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from torch import Tensor


class Processes:
    def __init__(self, *, cpu: bool) -> None:
        self._state = PartialState(cpu=cpu)

    @property
    def device(self) -> torch.device:
        device: torch.device = self._state.device
        return device

    @property
    def is_first(self) -> bool:
        """The process that writes files and shows progress."""
        return bool(self._state.is_main_process)

    def owns(self, part: int) -> bool:
        return part % int(self._state.num_processes) == int(self._state.process_index)

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over processes; the tensor itself where there is only one."""
        if self._state.num_processes == 1:
            return tensor
        summed: Tensor = reduce(tensor.to(self.device), reduction="sum")
        return summed.to(tensor.device)

    def add_gradients(self, weights: Iterable[torch.nn.Parameter]) -> None:
        """Make every process's gradients the sum of all. A process without rows has zeros."""
        if self._state.num_processes == 1:
            return
        weights = list(weights)
        flat = torch.cat(
            [torch.zeros_like(w).flatten() if w.grad is None else w.grad.flatten() for w in weights]
        )
        flat = self.total(flat)
        for weight, part in zip(weights, flat.split([w.numel() for w in weights]), strict=True):
            weight.grad = part.view_as(weight)

    def wait(self) -> None:
        self._state.wait_for_everyone()
