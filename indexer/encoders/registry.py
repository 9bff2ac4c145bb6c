"""Models by name: load one, list what there is, download one.

Only `download` opens a connection. Listing imports neither torch nor open_clip.
"""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from indexer.encoders import hub
from indexer.encoders.known_models import (
    BUILTIN,
    BUILTIN_IDS,
    KNOWN_MODELS,
    UNKNOWN_LICENCE,
    KnownModel,
    find_known,
)
from indexer.encoders.openclip import FORMS, HF_HUB, OpenClipEncoder, parse_name, published
from indexer.encoders.openclip import PREFIX as OPEN_CLIP
from indexer.errors import InvalidInputError, UnavailableError, UnknownModelError
from indexer.protocols import Encoder

ONNX = "onnx:"
Status = Literal["installed", "cached", "downloadable"]
Fetch = Callable[[str, str], Path | None]
POSSIBLE = f"{BUILTIN}, {', '.join(BUILTIN_IDS)}, {FORMS}, or {ONNX}FOLDER"


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One line of `kallos models list`.

    `status` says where the weights are: "installed" with Kallos, "cached" on this machine, or "downloadable".
    `parameters_m` is in millions, `size_mb` in megabytes of weights; None, as for `dim`,
    where it is not known.
    """

    name: str
    status: Status
    dim: int | None
    parameters_m: float | None
    size_mb: float | None
    licence: str
    note: str


def load_encoder(name: str, *, device: str = "auto", threads: int | None = None) -> Encoder:
    """Load the encoder called `name`, from this machine alone.

    Args:
        name: "builtin" (the newest), "builtin-1", "builtin-2", "open_clip:…" (see `openclip`) or
            "onnx:FOLDER".
        device: For open_clip models: "auto", "cpu", "cuda" or "cuda:N". The others run on the CPU.
        threads: CPU threads of one call; None lets the library choose.

    Raises UnknownModelError, with what is possible, for any other name; UnavailableError where a library or
    the weights are missing.
    """
    if threads is not None and threads < 1:
        raise InvalidInputError(f"threads is {threads}, expected at least 1")
    if name in (BUILTIN, *BUILTIN_IDS):
        from indexer.encoders.builtin import BuiltinEncoder

        return BuiltinEncoder(BUILTIN_IDS[-1] if name == BUILTIN else name, threads=threads)
    if name.startswith(OPEN_CLIP):
        return OpenClipEncoder(name, device=device, threads=threads)
    if name.startswith(ONNX) and name != ONNX:
        from indexer.encoders.openclip_onnx import OnnxClipEncoder

        return OnnxClipEncoder(Path(name.removeprefix(ONNX)).expanduser(), threads=threads)
    raise UnknownModelError(f"{name!r} is no model; possible: {POSSIBLE}")


def list_models(*, cache: Path | None = None) -> list[ModelInfo]:
    """Return the built-in models, the recommended ones, and whatever else the cache holds, in this order.

    `cache` is the Hugging Face cache folder, None the usual one.
    """
    missing = _missing_note()
    return [*_builtin(), *_known(cache, missing), *_others(cache, missing)]


def download(name: str, *, fetch: Fetch = hub.fetch) -> Path:
    """Fetch the weights of `name` from the Hugging Face hub into the local cache and return their path.

    Files that are there already are not fetched again. `fetch(repository, filename)` returns where the file
    now lies, or None where the repository has no such file.

    Raises InvalidInputError for a model that is not downloaded, UnknownModelError for an unknown one,
    UnavailableError when the hub cannot be reached or lacks the weights.
    """
    home = _home(name)
    fetched = (fetch(home.repository, candidate) for candidate in hub.weights_names(home.filename))
    weights = next((path for path in fetched if path is not None), None)
    if weights is None:
        raise UnavailableError(f"the repository {home.repository} holds no weights that open_clip can load")
    for extra in (hub.CONFIG_NAME, *hub.TOKENIZER_NAMES):
        fetch(home.repository, extra)
    return weights


def _home(name: str) -> hub.Home:
    """Where the weights of a downloadable model are published."""
    if not name.startswith(OPEN_CLIP):
        if name in (BUILTIN, *BUILTIN_IDS) or name.startswith(ONNX):
            raise InvalidInputError(f"{name!r} is not downloaded: it is on this machine already")
        raise UnknownModelError(f"{name!r} is no model; possible: {POSSIBLE}")
    known = find_known(name)
    if known is not None:
        return hub.Home(known.repository)
    parsed = parse_name(name)
    if parsed.repository is not None:
        return hub.Home(parsed.repository)
    if parsed.tag is None:
        raise InvalidInputError(f"{name!r} is not downloaded: it is a file of your own")
    place = published(parsed.model, parsed.tag)
    return hub.Home(place.repository, place.filename)


def _builtin() -> Iterator[ModelInfo]:
    """The newest first, under the name that stays when a newer one comes."""
    from indexer.encoders.builtin import BuiltinEncoder

    *older, newest = BUILTIN_IDS
    notes = {BUILTIN: f"{newest}; comes with Kallos, English, for a CPU"}
    notes |= dict.fromkeys(reversed(older), "of collections that an older Kallos made")
    for name, note in notes.items():
        encoder = BuiltinEncoder(newest if name == BUILTIN else name)  # light: weights are read on use
        yield ModelInfo(
            name=name,
            status="installed",
            dim=encoder.dim,
            parameters_m=None,
            size_mb=None,
            licence=encoder.licence,
            note=note,
        )


def _known(cache: Path | None, missing: str) -> Iterator[ModelInfo]:
    for model in KNOWN_MODELS:
        yield ModelInfo(
            name=model.name,
            status="downloadable" if hub.find_weights(model.repository, cache=cache) is None else "cached",
            dim=model.dim,
            parameters_m=model.parameters_m,
            size_mb=model.size_mb,
            licence=model.licence,
            note=_joined(model.note, missing or _transformers_note(model)),
        )


def _others(cache: Path | None, missing: str) -> Iterator[ModelInfo]:
    known = {model.repository for model in KNOWN_MODELS}
    for found in hub.iter_cached(cache):
        if found.repository not in known:
            yield ModelInfo(
                name=f"{OPEN_CLIP}{HF_HUB}{found.repository}",
                status="cached",
                dim=hub.embedding_dim(found.folder),
                parameters_m=None,
                size_mb=round(found.weights.stat().st_size / 1e6, 1),
                licence=UNKNOWN_LICENCE,
                note=missing,
            )


def _missing_note() -> str:
    """What to install before any open_clip model can be used; empty when it is there."""
    absent = [name for name in ("torch", "open_clip") if importlib.util.find_spec(name) is None]
    return f"needs {' and '.join(absent)}: pip install 'kallos[open-clip]'" if absent else ""


def _transformers_note(model: KnownModel) -> str:
    absent = model.needs_transformers and importlib.util.find_spec("transformers") is None
    return "needs transformers: pip install transformers" if absent else ""


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
