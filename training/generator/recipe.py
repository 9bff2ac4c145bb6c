"""From a configuration to the folder that is shipped; needs torch and diffusers."""

import json
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from indexer.errors import InvalidInputError
from training.generator.config import GeneratorConfig
from training.generator.export import save_folder
from training.generator.prepare import ARRAYS, load_codec, prepare
from training.generator.report import RECORD
from training.generator.train import ema_weights, latest_checkpoint, spent, train
from training.run_folder import commit

PACKAGES = ("torch", "diffusers", "numpy", "onnx")


def run(config: GeneratorConfig, material: Path, work: Path, out: Path) -> None:
    """Prepare, train and save; `work` keeps what a stopped run goes on with.

    Raises InvalidInputError: `work` belongs to another configuration.
    """
    work.mkdir(parents=True, exist_ok=True)
    _claim(config, work)
    if not all((work / f"{name}.npy").is_file() for name in ARRAYS):
        prepare(config, material, work)
    if latest_checkpoint(work)[0] < config.training.steps:
        train(config, work)
    step, path = latest_checkpoint(work)
    save_folder(
        config, ema_weights(path), load_codec(work / "codec.safetensors", config.latents.patch_px), out
    )
    record = {
        "config": asdict(config),
        "steps": step,
        "pictures": step * config.training.batch * config.training.processes,
        "cpu_s": spent(path),
        "commit": commit(),
        "python": platform.python_version(),
        "device": "cpu",
        "versions": {name: version(name) for name in PACKAGES},
    }
    (out / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _claim(config: GeneratorConfig, work: Path) -> None:
    claim = work / "config.json"
    mine = json.dumps(asdict(config), indent=1)
    if not claim.is_file():
        claim.write_text(mine, "utf-8")
    elif claim.read_text("utf-8") != mine:
        raise InvalidInputError(f"{work} holds a run of another configuration: name another folder")
