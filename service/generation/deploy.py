"""A trained run is put in service: checked, compared, copied, named; and taken back."""

import json
from dataclasses import dataclass
from pathlib import Path

from indexer.blobs.deployed import DeployedStore
from indexer.errors import ConflictError, CorruptStoreError, InvalidInputError
from indexer.types import JSONValue
from rerank.generate.request import BUILTIN
from rerank.generate.tuned.deployed import Load, base_folder, load_in_service
from rerank.generate.tuned.run import TunedRun, assemble, read_run

COMPARISON = "comparison.json"
Comparison = dict[str, JSONValue]


@dataclass(frozen=True, slots=True)
class Deployment:
    """`objections` are what was found against it and overridden."""

    id: str
    model_id: str
    before: str
    objections: tuple[str, ...]


class Deployer:
    def __init__(self, store: DeployedStore, load: Load) -> None:
        self._store = store
        self._load = load

    def use(self, folder: Path, *, anyway: bool) -> Deployment:
        """Put the run in `folder` in service. Doing it again changes nothing.

        Args:
            folder: As training leaves it, with the comparison that `kallos-train evaluate run` writes.
            anyway: In spite of a comparison that is missing, old or bad; kept in the history.

        Raises:
            NotFoundError, InvalidInputError, CorruptStoreError: It is no run that can be put in service.
            ConflictError: It was trained from another model than is here, or nothing says that it is
                better than what is in service; the message has the figures.
        """
        run = read_run(folder)
        with self._store.held():
            builtin = base_folder(self._store, run)
            before = self._in_service()
            is_in_force = self._store.state().current == run.id
            comparison = None if is_in_force else _comparison(folder)
            objections = [] if is_in_force else self._objections(run, comparison, before)
            if objections and not anyway:
                raise ConflictError(f"{folder} is not put in service: {'; '.join(objections)}")
            stored = self._store.put(run.id, lambda out: assemble(run, builtin, out), _facts(run))
            model_id = self._load(run.base, stored).model_id
            if not is_in_force:
                said: dict[str, JSONValue] = {"comparison": comparison, "objections": list(objections)}
                self._store.use(run.id, model_id=model_id, before=before, **said)
        return Deployment(run.id, model_id, before, tuple(objections))

    def rollback(self) -> Deployment:
        """Put the one before in force. Raises ConflictError: there is none."""
        self._store.before()  # before `held` makes a folder
        with self._store.held():
            before = self._in_service()
            id_ = self._store.rollback()
            return Deployment(id_ or BUILTIN, self._in_service(), before, ())

    def _in_service(self) -> str:
        """Its model id; of a damaged one, which is still to be replaced, that it is damaged."""
        current = self._store.state().current
        try:
            return load_in_service(self._store, current, self._load).model_id
        except CorruptStoreError:
            return f"{current}, which is damaged"

    def _objections(self, run: TunedRun, comparison: Comparison | None, before: str) -> list[str]:
        """What speaks against putting it in service."""
        found = []
        if run.base != BUILTIN and (installed := self._load(run.base, None).model_id) != run.base_id:
            found.append(
                f"it was trained from {run.base_id}, here is {installed}; the last part changes with the "
                "place and time of files"
            )
        how = f"`kallos-train evaluate run {run.folder}` compares them"
        if comparison is None:
            return [*found, f"nothing compares it with {before}: {how}"]
        if comparison.get("run") != run.id:
            return [*found, f"it was {comparison.get('run')} that was compared, this is {run.id}: {how}"]
        if comparison.get("against") != before:
            return [
                *found,
                f"it was compared with {comparison.get('against')}, not {before}: {how}",
            ]
        try:
            return [*found, *_of_reward(comparison["reward"]), *_of_held_out(comparison["held_out"])]
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInputError(f"{run.folder / COMPARISON}: not a comparison: {error!r}") from error


def _facts(run: TunedRun) -> dict[str, JSONValue]:
    return {
        "base": run.base,
        "base_model_id": run.base_id,
        "kind": run.kind,
        "sha256": run.sha256,
        "run": str(run.folder.resolve()),
    }


def _comparison(folder: Path) -> Comparison | None:
    path = folder / COMPARISON
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise InvalidInputError(f"{path}: expected a JSON object")
    return found


def _of_reward(row: object) -> list[str]:
    figures, low, _ = _figures(row)
    return [] if low > 0 else [f"the reward did not surely rise: {figures}"]


def _of_held_out(row: object) -> list[str]:
    figures, _, difference = _figures(row)
    return [] if difference >= 0 else [f"the held-out reward fell: {figures}"]


def _figures(row: object) -> tuple[str, float, float]:
    """In words; the low end of the interval; the difference."""
    if not isinstance(row, dict):
        raise TypeError(f"{row!r}")
    base, tuned, difference, low, high = (
        float(row[name]) for name in ("base", "tuned", "difference", "low", "high")
    )
    figures = (
        f"{row['name']} {base:.4g} → {tuned:.4g}, difference {difference:+.4g} [{low:.4g}, {high:.4g}] "
        f"over {row['n']} pictures"
    )
    return figures, low, difference
