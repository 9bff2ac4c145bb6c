"""A training run that has ended → the files that serving needs of it.

RUN/card.json                                      what was trained, from what; SHA-256 of what is deployed
RUN/adapter/pytorch_lora_weights.safetensors       a LoRA in diffusers' format, at full strength; or
RUN/weights/diffusion_pytorch_model.safetensors    every weight of the network

Of the builtin generator a whole folder is made, with the weights merged, named after the base and the run;
of a diffusers pipeline, which stays where it is, adapter/ID.safetensors or weights/ID.safetensors.
"""

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from indexer.disk.files import sha256_of_file
from indexer.errors import CorruptStoreError, InvalidInputError, NotFoundError
from rerank.generate.builtin.folder import GRAPH, WEIGHTS
from rerank.generate.diffusers.folder import INDEX
from rerank.generate.tuned.merge import merge_adapter, replace_weights

CARD = "card.json"
FORMAT = 1  # of the card
KIND = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
LORA = "adapter/pytorch_lora_weights.safetensors"
WHOLE = f"weights/{WEIGHTS}"
NETWORK = "unet"  # of the builtin generator
COPIED = (f"{NETWORK}/config.json", f"{NETWORK}/{GRAPH}", "vae/config.json", f"vae/{WEIGHTS}")
SCHEDULER = "scheduler/scheduler_config.json"


@dataclass(frozen=True, slots=True)
class TunedRun:
    """`base` is what training was told to start from, `base_id` the model id that it had."""

    folder: Path
    kind: str
    base: str
    base_id: str
    file: str
    sha256: str

    @property
    def id(self) -> str:
        """The same weights on the same base have the same one, wherever the run lies."""
        digest = hashlib.sha256(f"{self.base_id} {self.file} {self.sha256}".encode()).hexdigest()
        return f"{self.kind}-{digest[:12]}"

    @property
    def is_whole(self) -> bool:
        return self.file == WHOLE


def read_run(folder: Path) -> TunedRun:
    """Check a run: its card, and the hash of its files.

    Raises:
        NotFoundError: There is no card: the run did not end, or is none.
        InvalidInputError: The card says something that cannot be put in service.
        CorruptStoreError: A file is missing, or not the one that the card speaks of.
    """
    path = folder / CARD
    if not path.is_file():
        raise NotFoundError(f"{folder}: no run that has ended here, {CARD} is missing")
    try:
        card = json.loads(path.read_text("utf-8"))
        if card["format"] != FORMAT:
            raise InvalidInputError(f"{path}: format {card['format']}, expected {FORMAT}")
        kind, base = str(card["kind"]), card["base"]
        name, model_id, files = str(base["name"]), str(base["model_id"]), dict(card["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{path}: not the card of a run: {error!r}") from error
    if not KIND.fullmatch(kind):
        raise InvalidInputError(f"{path}: kind is {kind!r}: expected small letters, digits and hyphens")
    if len(files) != 1 or not files.keys() <= {LORA, WHOLE}:
        raise InvalidInputError(f"{path}: files are {sorted(files)}: expected {LORA} or {WHOLE}")
    ((file, sha256),) = files.items()
    if not (folder / file).is_file():
        raise CorruptStoreError(f"{folder / file}: the file is missing")
    if (found := sha256_of_file(folder / file)) != sha256:
        raise CorruptStoreError(f"{folder / file}: SHA-256 is {found}, the card says {sha256}")
    return TunedRun(folder, kind, name, model_id, file, str(sha256))


def assemble(run: TunedRun, builtin: Path | None, out: Path) -> None:
    """Fill `out` with what `load_generator(run.base, tuned=out)` reads.

    Args:
        run: As `read_run` gives it.
        builtin: The builtin folder that it was trained from; None for a diffusers pipeline.
        out: An empty folder.

    Raises InvalidInputError, CorruptStoreError: the weights do not fit.
    """
    trained = run.folder / run.file
    if builtin is None:
        target = out / Path(run.file).parent / f"{run.id}.safetensors"
        target.parent.mkdir()
        shutil.copyfile(trained, target)
        return
    for name in (*COPIED, SCHEDULER):
        (out / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(builtin / name, out / name)
    weights, merged = builtin / NETWORK / WEIGHTS, out / NETWORK / WEIGHTS
    if run.is_whole:
        replace_weights(weights, trained, merged)
    else:
        merge_adapter(weights, trained, NETWORK, merged)
    index = json.loads((builtin / INDEX).read_text("utf-8")) | {"name": tuned_name(run)}
    (out / INDEX).write_text(json.dumps(index, indent=1) + "\n", "utf-8")


def tuned_name(run: TunedRun) -> str:
    """The model id of a builtin generator with these weights."""
    return f"{run.base_id}+{run.id}"


def trained_files(folder: Path) -> tuple[list[Path], Path | None]:
    """(LoRA files, all weights of the network) of what `assemble` made of a run on a diffusers pipeline."""
    whole = sorted(folder.glob("weights/*.safetensors"))
    return sorted(folder.glob("adapter/*.safetensors")), whole[0] if whole else None
