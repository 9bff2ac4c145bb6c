"""Generators by name: load one, list what there is, download one. Only `download` opens a connection.

builtin                     comes with Kallos
diffusers:/path/to/folder   a pipeline folder; a path begins with / or . or ~
diffusers:org/name          the same from the local Hugging Face cache
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from indexer.encoders import hub
from indexer.errors import InvalidInputError, KallosError, UnavailableError, UnknownModelError
from rerank.generate.diffusers.families import KNOWN_GENERATORS, KnownGenerator
from rerank.generate.diffusers.folder import (
    CARD,
    HALF,
    INDEX,
    PipelineFolder,
    read_index,
    read_pipeline_folder,
)
from rerank.generate.diffusers.generator import DiffusersGenerator, missing_packages
from rerank.generate.diffusers.options import Adapter, GeneratorOptions
from rerank.generate.request import BUILTIN, Generator
from rerank.generate.tuned.run import trained_files

DIFFUSERS = "diffusers:"
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
POSSIBLE = f"{BUILTIN}, {DIFFUSERS}/path/to/folder or {DIFFUSERS}org/name"
Status = Literal["installed", "cached", "downloadable"]
Fetch = Callable[[str, tuple[str, ...], tuple[str, ...]], Path]
DESCRIPTION = (INDEX, CARD, "LICENSE*")
# Of each part. What else lies there holds the same weights once more, in another format.
WANTED = ("*.json", "*.txt", "*.model")
UNWANTED = ("*.non_ema.*", "*onnx*", "*flax*", "*openvino*")


@dataclass(frozen=True, slots=True)
class GeneratorInfo:
    """One line of `kallos generators list`. `size_mb` is of the weights; None where it is not known."""

    name: str
    status: Status
    family: str
    licence: str
    size_mb: int | None
    note: str


def load_generator(
    name: str,
    *,
    options: GeneratorOptions = GeneratorOptions(),  # noqa: B008  # frozen
    threads: int | None = None,
    cache: Path | None = None,
    tuned: Path | None = None,
) -> Generator:
    """Make the generator called `name`, from this machine alone. Weights are read with the first picture.

    Args:
        name: As above.
        options: For diffusers pipelines. The builtin generator runs on the CPU whatever `device` says.
        threads: CPU threads of the builtin generator; None lets the library choose.
        cache: The Hugging Face cache folder, None the usual one.
        tuned: Trained weights: a folder that `rerank.generate.tuned.run.assemble` filled for `name`.

    Raises:
        UnknownModelError: Any other name; the message says what is possible.
        NotFoundError: There is no pipeline in that folder.
        InvalidInputError: It is none that Kallos runs, is not safe to load, or the options do not fit.
        CorruptStoreError: Parts are missing or damaged.
        UnavailableError: A package is missing, or the model is not in the cache.
    """
    if name == BUILTIN:
        if options != GeneratorOptions(device=options.device):
            raise InvalidInputError(
                "the builtin generator takes no dtype, offload, adapter, scheduler, steps or guidance "
                f"setting: expected them with {DIFFUSERS}"
            )
        from rerank.generate.builtin.generator import FOLDER, BuiltinGenerator

        return BuiltinGenerator(threads=threads, folder=tuned or FOLDER)
    if not name.startswith(DIFFUSERS):
        raise UnknownModelError(f"{name!r} is no generator; possible: {POSSIBLE}")
    path, label = find_folder(name, cache)
    if tuned is not None:
        files, weights = trained_files(tuned)
        adapters = (*options.adapters, *map(Adapter, files))
        options = replace(options, adapters=adapters, weights=weights)
    return DiffusersGenerator(read_pipeline_folder(path), label, _source(name, path), options)


def list_generators(*, cache: Path | None = None) -> list[GeneratorInfo]:
    """Return the builtin generator, the recommended ones, then whatever else the cache holds."""
    missing = missing_packages()
    needs = f"needs {missing}: pip install 'kallos[generate]'" if missing else ""
    return [_builtin(), *_known(cache, needs), *_others(cache, needs)]


def download(name: str, *, half: bool = False, fetch: Fetch = hub.fetch_files) -> Path:
    """Fetch a pipeline into the local Hugging Face cache, only as safetensors, and return its folder.

    With `half`, the files that a repository offers at half the size. `fetch(repository, wanted, unwanted)`
    takes patterns of names.

    Raises InvalidInputError for a name that is not downloaded, UnknownModelError for an unknown one,
    UnavailableError when the hub cannot be reached or refuses; and what `read_pipeline_folder` raises.
    """
    repository = name.removeprefix(DIFFUSERS)
    if name == BUILTIN or (name.startswith(DIFFUSERS) and _is_path(repository)):
        raise InvalidInputError(f"{name!r} is not downloaded: it is on this machine already")
    if not name.startswith(DIFFUSERS) or not REPOSITORY.fullmatch(repository):
        raise UnknownModelError(f"{name!r} is no generator; possible: {POSSIBLE}")
    index = read_index(fetch(repository, DESCRIPTION, ()))  # refused before anything large is fetched
    wanted = (*WANTED, f"*.{HALF}*.safetensors" if half else "*.safetensors")
    unwanted = UNWANTED if half else (*UNWANTED, f"*.{HALF}*")
    folder = fetch(repository, tuple(f"{part}/{name}" for part in index.parts for name in wanted), unwanted)
    return read_pipeline_folder(folder).path


def _is_path(rest: str) -> bool:
    return rest.startswith(("/", ".", "~"))


def find_folder(name: str, cache: Path | None) -> tuple[Path, str]:
    """Where the folder of a `diffusers:` name is, and how answers call it: without the machine's own paths.

    Raises UnknownModelError: no such name is possible; UnavailableError: it is not in the cache.
    """
    rest = name.removeprefix(DIFFUSERS)
    if _is_path(rest):
        path = Path(rest).expanduser().absolute()
        return path, f"{DIFFUSERS}{path.name}"
    if not REPOSITORY.fullmatch(rest):
        raise UnknownModelError(f"{name!r} is no generator; possible: {POSSIBLE}")
    index = hub.find_file(rest, INDEX, cache)
    if index is None:
        raise UnavailableError(
            f"{rest} is not in the local cache: `kallos generators download {name}` fetches it; "
            f"a folder of your own is {DIFFUSERS}./{rest}"
        )
    return index.parent, name


def _source(name: str, path: Path) -> str:
    rest = name.removeprefix(DIFFUSERS)
    return str(path) if _is_path(rest) else f"https://huggingface.co/{rest} at {path.name}"


def _builtin() -> GeneratorInfo:
    from rerank.generate.builtin.generator import FOLDER, LICENCE

    is_here = (FOLDER / INDEX).is_file()
    size = sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file())
    note = (
        "64 px, for a CPU; comes with Kallos"
        if is_here
        else "its weights are missing: kallos-train generator"
    )
    return GeneratorInfo(
        BUILTIN,
        "installed",
        "builtin",
        LICENCE,
        round(size / 1e6) if is_here else None,
        note,
    )


def _known(cache: Path | None, needs: str) -> Iterator[GeneratorInfo]:
    for model in KNOWN_GENERATORS:
        found = _cached(model.repository, cache)
        gated = "accept its licence on its page first" if model.gated and found is None else ""
        yield GeneratorInfo(
            f"{DIFFUSERS}{model.repository}",
            "downloadable" if found is None else "cached",
            model.family,
            model.licence,
            _size(model, found),
            "; ".join(note for note in (model.note, gated, needs) if note),
        )


def _size(model: KnownGenerator, found: PipelineFolder | None) -> int:
    return model.size_mb if found is None else found.size_mb


def _others(cache: Path | None, needs: str) -> Iterator[GeneratorInfo]:
    known = {model.repository for model in KNOWN_GENERATORS}
    for repository in hub.iter_repositories(cache):
        found = None if repository in known else _cached(repository, cache)
        if found is not None:
            yield GeneratorInfo(
                f"{DIFFUSERS}{repository}", "cached", found.family.name, found.licence, found.size_mb, needs
            )


def _cached(repository: str, cache: Path | None) -> PipelineFolder | None:
    """A pipeline that lies in the cache whole, and that `load_generator` takes."""
    index = hub.find_file(repository, INDEX, cache)
    try:
        return None if index is None else read_pipeline_folder(index.parent)
    except KallosError:  # another kind of pipeline, or a part of one
        return None
