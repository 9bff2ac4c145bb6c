"""Started twice by a test: one epoch of a toy run, shared by two processes; the first writes its weights."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.support.torchvision_operators import declare_missing_operators

declare_missing_operators()

from tests.support.toy_run import toy_config, toy_run  # noqa: E402

if __name__ == "__main__":
    torch.set_num_threads(1)
    generator, out = Path(sys.argv[1]), Path(sys.argv[2])
    run = toy_run(generator, out, "dance-grpo", toy_config(rows=6, epochs=2, checkpoint_every=2))
    run.run()
    if run.processes.is_first:
        save_file(
            {name: weight.detach() for name, weight in run.parts.policy.trainable()},
            out / "weights.safetensors",
        )
