"""Writes an open_clip model as a folder that serves without torch.

image.onnx, text.onnx   uint8 [N, h, w, 3] and int64 [N, L] to unit float32 [N, D]
tokenizer.json          see `openclip_text`
preprocess.json         see `openclip_pixels`
model.json              model id, dimension, licence, source, cleaning, and the SHA-256 of every other file

`openclip_onnx.OnnxClipEncoder` reads it. A folder is written only when it gives the vectors that torch gives.
"""

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from indexer.disk.files import writing
from indexer.encoders.openclip import OpenClipEncoder
from indexer.encoders.openclip_onnx import FORMAT, OnnxClipEncoder
from indexer.encoders.openclip_text import bpe_document
from indexer.errors import InvalidInputError, UnavailableError

TOLERANCE = 1e-4  # largest difference of one component; float32 kernels differ by about 1e-6
# Cases in which tokenisers differ: contractions, digits, accents, scripts, emoji, HTML, length, nothing.
PROBE_TEXTS = (
    "a photo of a red bicycle",
    "The dog's toys weren't THEIRS, I'll say!",
    "route 66, 1024x768 & 3.14",
    "Crème brûlée à la carte — “déjà vu”",
    "zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich",
    "красный велосипед на пляже",
    "赤い自転車の写真",
    "صورة دراجة حمراء",
    "🚲🌅 sunset ride 👨‍👩‍👧",
    "fish &amp; chips &lt;3",
    "snake_case and-kebab/case\t\ttabs\n\nlines",
    "   ",
    "",
    "long " * 200,
)


def export_onnx(encoder: OpenClipEncoder, folder: Path) -> Path:
    """Write `encoder` into `folder`, which must not exist yet or be empty, and return it.

    The encoder has to be loaded with device "cpu" and in float32. Takes about a minute for a ViT-B.
    Raises InvalidInputError for another encoder or a folder in use, UnavailableError when the exported model
    or its tokeniser does not give what torch gives; the folder is then left as it was.
    """
    loaded = encoder.loaded
    if loaded.device.type != "cpu" or not loaded.is_float32:
        raise InvalidInputError("only an encoder loaded with device cpu and precision fp32 can be exported")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInputError(f"{folder} is in use; choose a new folder for the export")
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with writing(folder):
            _write(encoder, part)
        _compare(encoder, OnnxClipEncoder(part))
        part.chmod(0o755)  # a temporary folder is its owner's alone
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _write(encoder: OpenClipEncoder, part: Path) -> None:
    document, cleaning = _tokenizer(encoder)
    (part / "tokenizer.json").write_text(document, encoding="utf-8")
    (part / "preprocess.json").write_text(json.dumps(asdict(encoder.preprocess), indent=2), encoding="utf-8")
    encoder.write_graphs(part / "image.onnx", part / "text.onnx")
    description = {
        "format": FORMAT,
        "model_id": encoder.model_id,
        "dim": encoder.dim,
        "licence": encoder.licence,
        "source": encoder.source,
        "cleaning": cleaning,
        "files": {path.name: _sha256(path) for path in sorted(part.iterdir())},
    }
    (part / "model.json").write_text(json.dumps(description, indent=2), encoding="utf-8")


def _tokenizer(encoder: OpenClipEncoder) -> tuple[str, str]:
    """Return the tokeniser's document and the name of the cleaning before it."""
    tokenizer: Any = encoder.loaded.tokenizer  # foreign and untyped
    config = encoder.loaded.text_config
    arguments = config.get("tokenizer_kwargs", {})
    if config.get("hf_tokenizer_name"):
        if config.get("tokenizer_mode") or arguments.get("strip_sep_token"):
            raise UnavailableError(f"the tokeniser of {encoder.model_id} has no form without transformers")
        return _fast_document(tokenizer), arguments.get("clean", "whitespace")
    start, end = (tokenizer.decoder[id_] for id_ in (tokenizer.sot_token_id, tokenizer.eot_token_id))
    document = bpe_document(
        tokenizer.encoder,
        list(tokenizer.bpe_ranks),
        start=start,
        end=end,
        context_length=tokenizer.context_length,
    )
    return document, arguments.get("clean", "lower")


def _fast_document(tokenizer: Any) -> str:  # noqa: ANN401  # open_clip's wrapper of transformers, untyped
    tokenizer([""])  # sets truncation and padding, which then become part of the document
    try:
        document: str = tokenizer.tokenizer.backend_tokenizer.to_str()
    except AttributeError as error:
        raise UnavailableError("the tokeniser of this model exists only in Python, not as a file") from error
    return document


def _compare(encoder: OpenClipEncoder, exported: OnnxClipEncoder) -> None:
    """Raise unless both give the same tokens and vectors on the probes."""
    probes = list(PROBE_TEXTS)
    expected_NL = np.asarray(encoder.loaded.tokenizer(probes))
    actual_NL = exported.tokenizer.tokens(probes)
    for text, expected_L, actual_L in zip(probes, expected_NL, actual_NL, strict=True):
        if not np.array_equal(expected_L, actual_L):
            raise UnavailableError(f"the exported tokeniser of {encoder.model_id} differs on {text[:40]!r}")
    config = encoder.preprocess
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (config.height, config.width, 3), dtype=np.uint8) for _ in range(3)]
    differences = (
        np.abs(encoder.encode_texts(probes) - exported.encode_texts(probes)).max(),
        np.abs(encoder.encode_images(pictures) - exported.encode_images(pictures)).max(),
    )
    if not max(differences) <= TOLERANCE:
        raise UnavailableError(
            f"the exported {encoder.model_id} differs from torch by {max(differences):.2g}, "
            f"more than {TOLERANCE:.0e}"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
