"""Any open_clip model as an encoder, from the hub's cache or from a local checkpoint.

Names      open_clip:MODEL/TAG                weights published under a tag, from the local cache
           open_clip:MODEL@PATH               your own checkpoint for an architecture of open_clip's
           open_clip:hf-hub:ORGANISATION/NAME any open_clip repository of the hub, from the local cache
           open_clip:local-dir:PATH           a folder laid out as such a repository

Constructing an encoder never opens a connection; `registry.download` does. torch and open_clip are imported
by the first construction, not by this module.

Precision  float32 on a CPU; on CUDA bfloat16, or float16 where the device lacks it. torch's
`set_float32_matmul_precision("medium")` halves CPU time on some processors, but it is one switch for the
whole process and changes the results of code that never asked, so it is left alone: for a CPU,
`openclip_export` writes an ONNX model that is as fast.

Dimension key   N items, D embedding, H W picture, h w model input
"""

import hashlib
import importlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray
from numpy.typing import NDArray

from indexer.encoders import hub
from indexer.encoders.known_models import UNKNOWN_LICENCE, find_known
from indexer.encoders.openclip_pixels import PreprocessConfig, fit
from indexer.errors import InvalidInputError, UnavailableError, UnknownModelError
from indexer.protocols import ShippedAxis

if TYPE_CHECKING:
    from types import ModuleType

    from indexer.encoders.openclip_torch import Loaded, Published, Weights

PREFIX = "open_clip:"
LOCAL_DIR = "local-dir:"
HF_HUB = "hf-hub:"
FORMS = (
    "open_clip:MODEL/TAG, open_clip:MODEL@CHECKPOINT, open_clip:hf-hub:ORG/NAME or open_clip:local-dir:FOLDER"
)
CPU_BATCH = 32  # throughput is flat from here on, and 32 activations of a ViT-H still fit 1 GB
CUDA_BATCH = 256
HASH_CHARS = 16  # of a SHA-256: 64 bits, plenty to tell apart the checkpoints of one person


@dataclass(frozen=True, slots=True)
class OpenClipName:
    """A parsed name. Exactly one of `tag`, `checkpoint`, `folder` and `repository` is not None."""

    model: str = ""
    tag: str | None = None
    checkpoint: Path | None = None
    folder: Path | None = None
    repository: str | None = None


def parse_name(name: str) -> OpenClipName:
    """Read a name of one of the four forms.

    Raises UnknownModelError, with the forms, for anything else.
    """
    rest = name.removeprefix(PREFIX)
    if rest.startswith(LOCAL_DIR) and len(rest) > len(LOCAL_DIR):
        return OpenClipName(folder=Path(rest.removeprefix(LOCAL_DIR)).expanduser())
    if rest.startswith(HF_HUB) and rest.count("/") == 1 and not rest.endswith("/"):
        return OpenClipName(repository=rest.removeprefix(HF_HUB))
    for separator in ("@", "/"):  # a path may contain a slash, a tag no @
        model, found, source = rest.partition(separator)
        if found and model and source and ":" not in model:
            if separator == "@":
                return OpenClipName(model=model, checkpoint=Path(source).expanduser())
            # As open_clip reads tags, so that one set of weights has one id.
            return OpenClipName(model=model, tag=source.lower().replace("-", "_"))
    raise UnknownModelError(f"{name!r} is no open_clip model: expected {FORMS}")


def published(model: str, tag: str) -> "Published":
    """Where the hub keeps the weights of a tag; needs open_clip, but no connection."""
    found: Published = _torch_part().published(model, tag)
    return found


class OpenClipEncoder:
    """An open_clip model; implements `indexer.protocols.Encoder`.

    `model_id` of published weights is their name; of your own, the architecture and a hash of the file, so
    that a moved checkpoint keeps its collections and a retrained one does not. One forward pass runs at a
    time, for all callers: several would only share the same cores or the same GPU memory.

    Args:
        name: One of the four forms above.
        device: "auto" (CUDA where torch finds it), "cpu", "cuda" or "cuda:N".
        precision: "auto", "fp32", "bf16" or "fp16".
        threads: Of one operator on the CPU; None leaves torch's setting. Holds for the whole process.
        cache: The Hugging Face cache folder; None means the usual one.

    Raises UnavailableError when the libraries or the weights are not on this machine, UnknownModelError for
    an unknown name, InvalidInputError for weights that do not fit or are not safe to load.
    """

    def __init__(
        self,
        name: str,
        *,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        cache: Path | None = None,
    ) -> None:
        parsed = parse_name(name)
        self._torch = _torch_part()
        weights = _weights(self._torch, parsed, cache)
        if threads is not None:
            self._torch.limit_threads(threads)
        self._loaded: Loaded = self._torch.load(weights, device=device, precision=precision, cache=cache)
        self._model_id = _model_id(self._torch, parsed, weights)
        known = find_known(self._model_id)
        self._licence = known.licence if known is not None else UNKNOWN_LICENCE
        self._batch = CUDA_BATCH if self._loaded.device.type == "cuda" else CPU_BATCH
        self._lock = threading.Lock()
        self.source = _source(parsed)

    @property
    def model_id(self) -> str:
        return self._model_id

    @property
    def dim(self) -> int:
        return self._loaded.dim

    @property
    def licence(self) -> str:
        return self._licence

    @property
    def preprocess(self) -> PreprocessConfig:
        return self._loaded.preprocess

    @property
    def loaded(self) -> "Loaded":
        """The torch modules, for `openclip_export`."""
        return self._loaded

    def write_graphs(self, image: Path, text: Path) -> None:
        """Write both towers as ONNX; see `openclip_export`, which makes them a model folder."""
        with self._lock:
            self._torch.write_graphs(self._loaded, image, text)

    def prepare(self, pixels_HW3: UInt8[ndarray, "h w 3"]) -> NDArray[np.generic]:
        """Resize and crop: uint8 [h, w, 3] of the model's input size. May run beside a forward pass."""
        return fit(pixels_HW3, self._loaded.preprocess)

    def encode_prepared(self, prepared: Sequence[NDArray[np.generic]]) -> Float32[ndarray, "n d"]:
        parts = [
            self._images(np.stack(prepared[start : start + self._batch]))
            for start in range(0, len(prepared), self._batch)
        ]
        return self._joined(parts)

    def encode_images(self, pictures: Sequence[UInt8[ndarray, "h w 3"]]) -> Float32[ndarray, "n d"]:
        return self.encode_prepared([self.prepare(picture) for picture in pictures])

    def encode_texts(self, texts: Sequence[str]) -> Float32[ndarray, "n d"]:
        parts = [
            self._texts(list(texts[start : start + self._batch]))
            for start in range(0, len(texts), self._batch)
        ]
        return self._joined(parts)

    def fits(self, text: str) -> bool:
        with self._lock:
            fits: bool = self._torch.fits(self._loaded, text)
        return fits

    def axes(self) -> Mapping[str, ShippedAxis]:
        """None are shipped: axes of these models are fitted from prompts or labels."""
        return {}

    def _images(self, pixels_NHW3: NDArray[np.generic]) -> Float32[ndarray, "n d"]:
        with self._lock:
            vectors_ND: Float32[ndarray, "n d"] = self._torch.run_images(self._loaded, pixels_NHW3)
        return vectors_ND

    def _texts(self, texts: list[str]) -> Float32[ndarray, "n d"]:
        with self._lock:  # around the tokeniser too: those of transformers are not safe to share
            vectors_ND: Float32[ndarray, "n d"] = self._torch.run_texts(self._loaded, texts)
        return vectors_ND

    def _joined(self, parts: list[Float32[ndarray, "n d"]]) -> Float32[ndarray, "n d"]:
        if not parts:
            return np.empty((0, self.dim), dtype=np.float32)
        vectors_ND = np.concatenate(parts)
        if not np.isfinite(vectors_ND).all():
            raise UnavailableError(
                f"{self.model_id} gave values that are not finite; its weights are damaged, "
                "or they need precision fp32"
            )
        return vectors_ND


def _torch_part() -> "ModuleType":
    """Import torch and open_clip, or say what to install."""
    try:
        return importlib.import_module("indexer.encoders.openclip_torch")
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"open_clip models need {error.name}, which is not installed: pip install 'kallos[open-clip]'"
        ) from error
    except (ImportError, RuntimeError, OSError) as error:
        # Typical: torchvision was built for another torch ("operator torchvision::nms does not exist").
        raise UnavailableError(
            f"torch, torchvision or open_clip is installed but does not load ({error}); "
            "install torch and torchvision together, from the same package index"
        ) from error


def _weights(torch_part: "ModuleType", name: OpenClipName, cache: Path | None) -> "Weights":
    weights: Weights
    if name.tag is not None:
        return _published_weights(torch_part, name.model, name.tag, cache)
    if name.checkpoint is not None:
        if not name.checkpoint.is_file():
            raise InvalidInputError(f"there is no checkpoint at {name.checkpoint}")
        preprocess = torch_part.architecture_preprocess(name.model)
        weights = torch_part.Weights(name.model, name.checkpoint, preprocess)
        return weights
    folder = name.folder
    if name.repository is not None:
        cached = hub.find_repository(name.repository, cache)
        if cached is None:
            raise _not_cached(f"{HF_HUB}{name.repository}")
        folder = cached.folder
    weights = torch_part.Weights(f"{LOCAL_DIR}{folder}", None, {})
    return weights  # named for its type: the module is imported late and untyped here


def _published_weights(torch_part: "ModuleType", model: str, tag: str, cache: Path | None) -> "Weights":
    place: Published = torch_part.published(model, tag)
    path = hub.find_weights(place.repository, place.filename, cache)
    if path is None:
        raise _not_cached(f"{model}/{tag}")
    weights: Weights = torch_part.Weights(
        model, path, place.weights.preprocess, quick_gelu=place.weights.quick_gelu
    )
    return weights


def _not_cached(name: str) -> UnavailableError:
    return UnavailableError(
        f"the weights of {PREFIX}{name} are not on this machine: kallos models download {PREFIX}{name}"
    )


def _model_id(torch_part: "ModuleType", name: OpenClipName, weights: "Weights") -> str:
    if name.tag is not None:
        return f"{PREFIX}{name.model}/{name.tag}"
    digest = hashlib.sha256()
    paths = list(torch_part.checkpoints(weights))
    if name.checkpoint is None:
        # The description decides activations and preprocessing, and with them the vectors.
        paths.append(Path(weights.model.removeprefix(LOCAL_DIR)) / hub.CONFIG_NAME)
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"{PREFIX}{name.model or 'folder'}@sha256:{digest.hexdigest()[:HASH_CHARS]}"


def _source(name: OpenClipName) -> str:
    """Where the weights came from, for people. A path's last part only: exports are passed on."""
    if name.tag is not None:
        return f"{PREFIX}{name.model}/{name.tag}"
    if name.repository is not None:
        return f"https://huggingface.co/{name.repository}"
    return (name.checkpoint or name.folder or Path()).name
