"""The one importer of torch and open_clip: models, their preprocessing, their graphs.

Imported by `openclip` when an encoder is constructed, never before: it costs seconds and gigabytes.

Dimension key   N items, D embedding, H W the model's input, L tokens
"""

import importlib.util
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import open_clip
import torch
from jaxtyping import Float32, UInt8
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional

from indexer.encoders.openclip_pixels import PreprocessConfig
from indexer.errors import InvalidInputError, UnavailableError, UnknownModelError

# The keys that open_clip's pretrained table may set; the rest of an entry is about where the weights are.
PREPROCESS_KEYS = ("mean", "std", "interpolation", "resize_mode", "fill_color")
LOCAL_DIR = "local-dir:"
CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
Tokenizer = Callable[[list[str]], Tensor]  # gives int64 [N, L]
LARGEST_INLINE_MB = 1500  # protobuf refuses a file of 2 GiB; past this the weights lie beside the graph


class ImageTower(nn.Module):
    """uint8 [N, H, W, 3] to unit float32 [N, D]: scaling, mean and deviation, the model, the norm."""

    model: Any  # foreign and untyped
    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, config: PreprocessConfig, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self.dtype = dtype
        self.register_buffer("mean", torch.tensor(config.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(config.std)[:, None, None], persistent=False)

    def normalised(self, pixels_NHW3: Tensor) -> Tensor:
        """What the model itself is fed: float32 [N, 3, H, W]."""
        unit_N3HW = pixels_NHW3.permute(0, 3, 1, 2).to(torch.float32) / 255
        return (unit_N3HW - self.mean) / self.std

    def forward(self, pixels_NHW3: Tensor) -> Tensor:
        features_ND = self.model.encode_image(self.normalised(pixels_NHW3).to(self.dtype))
        return functional.normalize(features_ND.to(torch.float32), dim=-1)


class TextTower(nn.Module):
    """int64 tokens [N, L] to unit float32 [N, D]."""

    model: Any  # foreign and untyped

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens_NL: Tensor) -> Tensor:
        features_ND = self.model.encode_text(tokens_NL)
        return functional.normalize(features_ND.to(torch.float32), dim=-1)


@dataclass(frozen=True, slots=True)
class Weights:
    """What to load: an architecture and the file with its weights, or `local-dir:FOLDER` and None.

    `preprocess` overrides open_clip's defaults; `quick_gelu` is the activation that the weights were trained
    with where the architecture's own description says otherwise.
    """

    model: str
    checkpoint: Path | None
    preprocess: Mapping[str, Any]  # open_clip's own dictionary: floats, tuples and words
    quick_gelu: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """Where the hub keeps the weights of a tag; `filename` is empty for the usual name."""

    repository: str
    filename: str
    weights: Weights


@dataclass(frozen=True, slots=True)
class Loaded:
    image: ImageTower
    text: TextTower
    tokenizer: Tokenizer
    text_config: Mapping[str, Any]  # the model's own description, as JSON
    preprocess: PreprocessConfig
    dim: int
    device: torch.device

    @property
    def is_float32(self) -> bool:
        return self.image.dtype == torch.float32


def published(model: str, tag: str) -> Published:
    """Say where the weights of `MODEL/TAG` are published.

    Raises UnknownModelError, with the nearest names, when open_clip knows no such model or tag.
    """
    config = open_clip.get_pretrained_cfg(model, tag)
    if not config or not config.get("hf_hub"):
        names = ["/".join(pair) for pair in open_clip.list_pretrained()]
        near = get_close_matches(f"{model}/{tag}", names, n=4, cutoff=0.4)
        raise UnknownModelError(
            f"open_clip knows no model {model}/{tag}; near: {', '.join(near) or 'nothing'}"
        )
    repository, _, filename = config["hf_hub"].rpartition("/")
    weights = Weights(model, None, _preprocess_of(config), bool(config.get("quick_gelu", False)))
    return Published(repository, filename, weights)


def architecture_preprocess(model: str) -> dict[str, Any]:
    """The preprocessing that all published weights of an architecture share; empty where they differ.

    A bare checkpoint says nothing about it, and open_clip's default would be wrong for, say, SigLIP.
    """
    tags = open_clip.list_pretrained_tags_by_model(model)
    found = [_preprocess_of(open_clip.get_pretrained_cfg(model, tag)) for tag in tags]
    return found[0] if found and all(config == found[0] for config in found) else {}


def load(weights: Weights, *, device: str, precision: str, cache: Path | None) -> Loaded:
    """Build a model and fill it with its weights, from local files alone.

    Raises UnknownModelError for an architecture that open_clip does not know, InvalidInputError for weights
    that are unsafe to load or do not fit it, UnavailableError where a library or a file is missing.
    """
    config = _model_config(weights.model)
    _refuse_remote_parts(weights.model, config)
    where = _device(device)
    kind = _precision(precision, where)
    for path in checkpoints(weights):
        _check_checkpoint(path)
    model = _create(weights, where, kind)
    visual: Any = model.visual
    preprocess = _preprocess_config(visual.preprocess_cfg)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(kind, torch.float32)
    return Loaded(
        image=ImageTower(model, preprocess, dtype).to(where).eval(),
        text=TextTower(model).eval(),
        tokenizer=_tokenizer(weights.model, config["text_cfg"], cache),
        text_config=config["text_cfg"],
        preprocess=preprocess,
        dim=int(config["embed_dim"]),
        device=where,
    )


def checkpoints(weights: Weights) -> list[Path]:
    """The files that open_clip might take the weights from, by name; never empty.

    Raises InvalidInputError where there is none.
    """
    if weights.checkpoint is not None:
        found = [weights.checkpoint] if weights.checkpoint.is_file() else []
    else:
        folder = Path(weights.model.removeprefix(LOCAL_DIR))
        found = sorted(path for path in folder.glob("*") if path.suffix in CHECKPOINT_SUFFIXES)
    if not found:
        raise InvalidInputError(f"there are no weights at {weights.checkpoint or weights.model}")
    return found


def _check_checkpoint(path: Path) -> None:
    """Refuse a checkpoint that is not plain tensors: a pickle can run any code when it is loaded."""
    if path.suffix == ".safetensors":
        return
    if path.suffix not in CHECKPOINT_SUFFIXES:
        raise InvalidInputError(f"{path} is no checkpoint: expected one of {', '.join(CHECKPOINT_SUFFIXES)}")
    # open_clip repeats this load. Going first matters: on a TypeError it would try again without the guard.
    try:
        torch.load(path, map_location="meta", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, TypeError, EOFError) as error:
        raise InvalidInputError(
            f"{path} is not a plain state dict and is not loaded, because it could run code; "
            f"convert it to safetensors ({error})"
        ) from error


def run_images(loaded: Loaded, pixels_NHW3: UInt8[ndarray, "n h w 3"]) -> Float32[ndarray, "n d"]:
    """Unit vectors of prepared pictures. One caller at a time."""
    with torch.inference_mode():
        vectors_ND: Tensor = loaded.image(torch.from_numpy(pixels_NHW3).to(loaded.device))
        return vectors_ND.cpu().numpy()


def run_texts(loaded: Loaded, texts: list[str]) -> Float32[ndarray, "n d"]:
    """Unit vectors of texts. One caller at a time."""
    with torch.inference_mode():
        vectors_ND: Tensor = loaded.text(loaded.tokenizer(texts).to(loaded.device))
        return vectors_ND.cpu().numpy()


def fits(loaded: Loaded, text: str) -> bool:
    """Whether one more word would still be read. One caller at a time."""
    row_L, longer_L = loaded.tokenizer([text, f"{text} more"])
    return not torch.equal(row_L, longer_L)


def write_graphs(loaded: Loaded, image: Path, text: Path) -> None:
    """Write both towers as ONNX, each with a free number of rows."""
    config = loaded.preprocess
    # Two rows: a single one would be taken for a constant of the graph.
    pixels_NHW3 = torch.zeros((2, config.height, config.width, 3), dtype=torch.uint8)
    _write_graph(loaded.image, pixels_NHW3, image, input_name="pixels")
    _write_graph(loaded.text, loaded.tokenizer(["a", "b"]), text, input_name="tokens")


def _write_graph(tower: nn.Module, example: Tensor, path: Path, *, input_name: str) -> None:
    size_mb = sum(part.numel() * part.element_size() for part in tower.parameters()) / 1e6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own parts
        torch.onnx.export(
            tower,
            (example,),
            path,
            input_names=[input_name],
            output_names=["vectors"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            external_data=size_mb > LARGEST_INLINE_MB,
            dynamo=True,
            verbose=False,
        )


def limit_threads(threads: int) -> None:
    """Bound the threads of one operator. torch keeps one such number for the whole process."""
    torch.set_num_threads(threads)


def _preprocess_of(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in PREPROCESS_KEYS if config.get(key) is not None}


def _model_config(model: str) -> dict[str, Any]:
    try:
        config = open_clip.get_model_config(model)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{model} has no readable open_clip_config.json: {error}") from error
    if config is None:
        near = get_close_matches(model, open_clip.list_models(), n=4, cutoff=0.4)
        raise UnknownModelError(
            f"open_clip knows no architecture {model!r}; near: {', '.join(near) or 'nothing'}"
        )
    if not all(isinstance(config.get(part), dict) for part in ("vision_cfg", "text_cfg")):
        raise InvalidInputError(
            f"{model} is no open_clip model: its description lacks vision_cfg or text_cfg"
        )
    return dict(config)


def _refuse_remote_parts(model: str, config: Mapping[str, Any]) -> None:
    """Raise where open_clip would open a connection while it builds the model."""
    text, vision = config["text_cfg"], config["vision_cfg"]
    if text.get("hf_model_name"):
        raise UnavailableError(
            f"{model} takes its text tower from transformers ({text['hf_model_name']}), which fetches by "
            "itself; choose a model whose text tower is open_clip's own"
        )
    if ":" in str(vision.get("timm_model_name", "")):
        raise InvalidInputError(f"{model} names a remote image tower, {vision['timm_model_name']!r}")
    if text.get("hf_tokenizer_name") and importlib.util.find_spec("transformers") is None:
        raise UnavailableError(f"the tokeniser of {model} needs transformers: pip install transformers")
    if not text.get("hf_tokenizer_name") and "siglip" in model.lower() and not model.startswith(LOCAL_DIR):
        raise UnavailableError(f"the tokeniser of {model} is not part of its files and would be fetched")


def _create(weights: Weights, device: torch.device, precision: str) -> nn.Module:
    try:
        model: nn.Module = open_clip.create_model(
            weights.model,
            pretrained=None if weights.checkpoint is None else str(weights.checkpoint),
            device=device,
            precision=precision,
            force_quick_gelu=weights.quick_gelu,
            force_preprocess_cfg=dict(weights.preprocess),
            require_pretrained=True,
            weights_only=True,
        )
    except (RuntimeError, ValueError, OSError, KeyError, TypeError) as error:
        source = weights.checkpoint or weights.model
        raise InvalidInputError(f"the weights {source} do not fit {weights.model}: {error}") from error
    return model.eval().requires_grad_(False)


def _tokenizer(model: str, text_config: Mapping[str, Any], cache: Path | None) -> Tokenizer:
    # Without these arguments the ones from the hub would look there first.
    local = {"cache_dir": cache, "local_files_only": True} if text_config.get("hf_tokenizer_name") else {}
    try:
        tokenizer: Tokenizer = open_clip.get_tokenizer(model, **local)
    except (OSError, ValueError) as error:
        raise UnavailableError(f"the tokeniser of {model} is not on this machine: {error}") from error
    return tokenizer


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise InvalidInputError(f"device is {device!r}, expected auto, cpu, cuda or cuda:N") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise UnavailableError(f"device is {device!r}, but torch finds no CUDA device")
    return found


def _precision(precision: str, device: torch.device) -> str:
    if precision not in ("auto", "fp32", "bf16", "fp16"):
        raise InvalidInputError(f"precision is {precision!r}, expected auto, fp32, bf16 or fp16")
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _preprocess_config(config: Mapping[str, Any]) -> PreprocessConfig:
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
    return PreprocessConfig(
        height=int(height),
        width=int(width),
        mean=_three(config["mean"]),
        std=_three(config["std"]),
        # "random" is a training augmentation; open_clip evaluates such models with bicubic.
        interpolation="bilinear" if config.get("interpolation") == "bilinear" else "bicubic",
        resize_mode=config.get("resize_mode") or "shortest",
        fill_color=int(config.get("fill_color") or 0),
    )


def _three(value: float | list[float] | tuple[float, ...]) -> tuple[float, float, float]:
    if isinstance(value, int | float):
        return (float(value),) * 3
    red, green, blue = value
    return (float(red), float(green), float(blue))
