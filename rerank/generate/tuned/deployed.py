"""From what is stored as being in service to a generator.

DATA_DIR/generators/ ─► id in force ─► name of its base + folder ─► load_generator(base, tuned=folder)
"""

from collections.abc import Callable
from pathlib import Path

from indexer.blobs.deployed import DeployedStore
from indexer.errors import ConflictError, CorruptStoreError
from rerank.generate.builtin.folder import read_folder
from rerank.generate.builtin.generator import FOLDER
from rerank.generate.request import BUILTIN, Generator
from rerank.generate.tuned.run import NETWORK, TunedRun

Load = Callable[[str, Path | None], Generator]
"""(name of the base, folder with trained weights) → generator; weights are read with the first picture."""


def load_in_service(store: DeployedStore, current: str | None, load: Load) -> Generator:
    """The generator of `store` with this id; None is the builtin one.

    Raises CorruptStoreError: damaged; and what `load` raises.
    """
    if current is None:
        return load(BUILTIN, None)
    store.check(current)
    base = store.manifest(current).facts.get("base")
    if not isinstance(base, str):
        raise CorruptStoreError(
            f"{store.folder(current)}: its manifest does not say what it was trained from"
        )
    return load(base, store.folder(current))


def base_folder(store: DeployedStore, run: TunedRun) -> Path | None:
    """The builtin folder that `run` was trained from: the shipped one, or one that was put in service.

    None: it was trained from a diffusers pipeline, which stays where it is.

    Raises ConflictError: it was trained from another builtin generator than is here.
    """
    if run.base != BUILTIN:
        return None
    deployed = [store.folder(id_) for id_ in dict.fromkeys(store.state().ids)]
    known = {
        read_folder(folder).name: folder
        for folder in (FOLDER, *deployed)
        if folder == FOLDER or (folder / NETWORK).is_dir()
    }
    if run.base_id not in known:
        raise ConflictError(f"{run.folder} was trained from {run.base_id}, here is {' or '.join(known)}")
    return known[run.base_id]
