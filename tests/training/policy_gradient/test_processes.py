"""Two processes that share an epoch end where one ends that does it alone; a killed command goes on."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.support.processes import started, unmeasured
from training.run_folder import read_rows

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
COMMAND = (
    "from tests.support.torchvision_operators import declare_missing_operators as d; d(); "
    "from training.cli import main; main()"
)


def _start(
    script: Path, generator: Path, out: Path, **environment: str
) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    return started(
        [sys.executable, str(script), str(generator), str(out)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        stderr=subprocess.PIPE,
    )


def test_two_processes_learn_what_one_learns(tiny_generator_folder: Path, tmp_path: Path) -> None:
    script = Path(__file__).with_name("two_processes.py")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": "2",
        "ACCELERATE_USE_CPU": "true",
    }
    ranks = [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(_start(script, tiny_generator_folder, tmp_path / name, **environment))
            for name, environment in (("two", ranks[0]), ("two", ranks[1]), ("one", {}))
        ]
        for process in processes:
            _, said = process.communicate()
            assert process.returncode == 0, said.decode()
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=1e-3, rtol=1e-3)
    rewards = [
        [row.get("reward") for row in read_rows(tmp_path / name / "metrics.jsonl")] for name in ("one", "two")
    ]
    assert rewards[0] == [None if x is None else pytest.approx(x, abs=1e-6) for x in rewards[1]]


CONFIG = """
seed = 3
[policy]
name = "builtin"
[policy.options]
device = "cpu"
[policy.adapter]
rank = 2
alpha = 2.0
targets = ["to_q", "to_v"]
[reward]
name = "colourfulness"
[sampler]
kind = "flow-grpo"
steps = 3
noise = 0.7
last_is_noisy = false
[training]
epochs = 5
prompts = 2
group = 3
checkpoint_every = 1
[evaluation]
every = 3
prompts = 2
seeds = 1
[algorithms.pcpo]
objective = "log-hinge"
weights = "proportionate"
advantage = "buffer"
learning_rate = 1e-3
"""


def _command(config: Path, out: Path, **options: object) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    return started(
        [sys.executable, "-c", COMMAND, "pcpo", "--config", str(config), "--out", str(out)],
        cwd=ROOT,
        env={**unmeasured(), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_a_command_that_is_killed_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(CONFIG)
    with _command(config, tmp_path / "whole") as whole:
        with _command(config, tmp_path / "killed") as killed:
            checkpoint = tmp_path / "killed/checkpoints/checkpoint-000003.safetensors"
            while not checkpoint.exists() and killed.poll() is None:
                time.sleep(0.01)
        assert not (tmp_path / "killed/card.json").exists()
        with _command(config, tmp_path / "killed") as again:
            for process in (whole, again):
                said, error = process.communicate()
                assert process.returncode == 0, error.decode()
                assert b"epoch 5\tdone" in said
    figures = [
        [
            {k: v for k, v in row.items() if k != "cpu_s"}
            for row in read_rows(tmp_path / name / "metrics.jsonl")
        ]
        for name in ("whole", "killed")
    ]
    assert figures[0] == figures[1]
    weights = "adapter/pytorch_lora_weights.safetensors"
    assert (tmp_path / "whole" / weights).read_bytes() == (tmp_path / "killed" / weights).read_bytes()


def _no_large_files() -> None:
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))  # a checkpoint of this run is larger


def test_a_full_disk_is_said_and_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(CONFIG.replace("epochs = 5", "epochs = 2"))
    with _command(config, tmp_path / "run") as done:
        _, error = done.communicate()
    assert done.returncode == 0, error.decode()
    kept = tmp_path / "run/checkpoints/checkpoint-000002.safetensors"
    before = kept.read_bytes()
    assert len(before) > 150_000
    (tmp_path / "run/checkpoints/checkpoint-000001.safetensors").rename(tmp_path / "one")
    kept.rename(tmp_path / "two")
    (tmp_path / "one").rename(tmp_path / "run/checkpoints/checkpoint-000001.safetensors")
    first = (tmp_path / "run/checkpoints/checkpoint-000001.safetensors").read_bytes()
    with _command(config, tmp_path / "run", preexec_fn=_no_large_files) as full:
        _, error = full.communicate()
    assert full.returncode == 1
    assert b"cannot be written" in error
    assert b"[store_error]" in error
    assert b"Traceback" not in error
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == [
        "checkpoint-000001.safetensors"
    ]
    assert (tmp_path / "run/checkpoints/checkpoint-000001.safetensors").read_bytes() == first
