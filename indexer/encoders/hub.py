"""Files of published models: found in the local Hugging Face cache, fetched by `fetch` and `fetch_files`.

Every other function here reads the disk alone and never opens a connection.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import UnavailableError

CONFIG_NAME = "open_clip_config.json"
# In the order of preference: safetensors cannot run code when loaded.
WEIGHTS_NAMES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
TOKENIZER_NAMES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
)


@dataclass(frozen=True, slots=True)
class Home:
    """Where weights are published: `org/name`, and the file's name where it is not one of the usual ones."""

    repository: str
    filename: str = ""


@dataclass(frozen=True, slots=True)
class CachedRepository:
    """A published open_clip model whose weights lie in the cache. `folder` is its newest snapshot."""

    repository: str
    folder: Path
    weights: Path


def cache_root() -> Path:
    """Where the Hugging Face libraries keep what they fetch (`HF_HUB_CACHE`, `HF_HOME`)."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def find_file(repository: str, filename: str, cache: Path | None = None) -> Path | None:
    """Return the cached file of `org/name`, or None where it was never fetched."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, filename, cache_dir=cache or cache_root())
    # A file that is known not to exist at the hub gives a marker object, neither a string nor None.
    return Path(found) if isinstance(found, str) else None


def find_weights(repository: str, filename: str = "", cache: Path | None = None) -> Path | None:
    """Return the cached weights of `org/name`, or None. `filename` where they have an uncommon name."""
    found = (find_file(repository, name, cache) for name in weights_names(filename))
    return next((path for path in found if path is not None), None)


def weights_names(filename: str = "") -> tuple[str, ...]:
    """The names under which a repository may keep its weights, the preferred one first."""
    if not filename:
        return WEIGHTS_NAMES
    safe = str(Path(filename).with_suffix(".safetensors"))
    return (safe,) if safe == filename else (safe, filename)


def find_repository(repository: str, cache: Path | None = None) -> CachedRepository | None:
    """Return the cached snapshot of `org/name` that has a model description and weights, or None."""
    config = find_file(repository, CONFIG_NAME, cache)
    weights = find_weights(repository, cache=cache)
    if config is None or weights is None:
        return None
    return CachedRepository(repository, config.parent, weights)


def iter_cached(cache: Path | None = None) -> Iterator[CachedRepository]:
    """Yield every cached open_clip repository, by name."""
    for repository in iter_repositories(cache):
        found = find_repository(repository, cache)
        if found is not None:
            yield found


def iter_repositories(cache: Path | None = None) -> Iterator[str]:
    """Yield `org/name` of everything in the cache, by name."""
    for folder in sorted((cache or cache_root()).glob("models--*")):
        repository = folder.name.removeprefix("models--").replace("--", "/")
        if repository.count("/") == 1:
            yield repository


def embedding_dim(folder: Path) -> int | None:
    """Return the dimension that a model folder's description states; None where it states none."""
    try:
        dim = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))["model_cfg"]["embed_dim"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dim if isinstance(dim, int) else None


def fetch(repository: str, filename: str) -> Path | None:
    """Download one file into the cache, or find it there; None where the repository has no such file.

    Raises UnavailableError when the hub cannot be reached or refuses.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, filename))
    except LocalEntryNotFoundError as error:  # a subclass of EntryNotFoundError that means "no connection"
        raise UnavailableError(f"cannot fetch {filename} of {repository}: {error}") from error
    except EntryNotFoundError:
        return None
    except (OSError, ValueError) as error:  # HTTP and connection errors of the hub's client are OSErrors
        raise UnavailableError(f"cannot fetch {filename} of {repository}: {error}") from error


def fetch_files(repository: str, wanted: tuple[str, ...], unwanted: tuple[str, ...]) -> Path:
    """Download the files whose names fit into the cache, or find them there; return their folder.

    Raises UnavailableError when the hub cannot be reached or refuses.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(repository, allow_patterns=list(wanted), ignore_patterns=list(unwanted))
        )
    except (OSError, ValueError) as error:  # HTTP and connection errors of the hub's client are OSErrors
        raise UnavailableError(f"cannot fetch {repository}: {error}") from error
