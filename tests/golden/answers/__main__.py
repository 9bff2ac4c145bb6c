"""Record the answers of this version, or compare it with a record: see the package."""

import argparse
import gzip
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.golden.answers.comparing import Difference, Verdict, compare, verdict_of
from tests.golden.answers.replay import Step, let_learn, record, session
from tests.golden.answers.scenarios import SCENARIOS
from tests.golden.answers.stores import NAMES, make_store, store_at

TOLERANCE = 1e-6
SHOWN = 5  # differences of one answer
KEPT = Path(__file__).parents[1] / "answers.jsonl.gz"
KEPT_STORES = ("plain", "v1")  # small ones, which a test can make


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden.answers", description=__doc__)
    parser.add_argument("command", choices=["record", "compare", "keep"])
    parser.add_argument("folder", type=Path, help="where the stores and answers.jsonl.gz lie")
    parser.add_argument("--only", choices=NAMES, nargs="+", default=list(NAMES))
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    options = parser.parse_args(arguments)
    root, answers = options.folder.absolute(), options.folder / "answers.jsonl.gz"
    match options.command:
        case "record":
            write_steps(answers, [step for name in options.only for step in _record(root, name)])
            return 0
        case "keep":  # what the test compares with
            write_steps(KEPT, [step for step in read_steps(answers) if step.store in KEPT_STORES])
            return 0
        case _:
            return _compare(root, read_steps(answers), options.only, options.tolerance)


def read_steps(path: Path) -> list[Step]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [Step.of_line(line) for line in lines]


def write_steps(path: Path, steps: Iterable[Step]) -> None:
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.writelines(f"{step.to_line()}\n".encode() for step in steps)


def _record(root: Path, name: str) -> list[Step]:
    store = make_store(root, name)
    if store.learns:
        let_learn(store)
    steps = record(store, SCENARIOS[name])
    failed = Counter(step.status for step in steps if step.status >= 400)
    sys.stdout.write(f"{name}: {len(steps)} answers, of those by status {dict(failed)}\n")
    return steps


def _compare(root: Path, steps: Sequence[Step], names: Sequence[str], tolerance: float) -> int:
    worst = Verdict.IDENTICAL
    for name in names:
        old = [step for step in steps if step.store == name]
        with session(store_at(root, name)) as asking:
            new = asking.again(old)
        found = [compare(before, now, tolerance) for before, now in zip(old, new, strict=True)]
        verdicts = Counter(map(verdict_of, found))
        worst = max(worst, *verdicts)
        counts = ", ".join(f"{verdicts[verdict]} {verdict.name.lower()}" for verdict in Verdict)
        sys.stdout.write(f"{name}: {len(old)} answers: {counts}\n")
        for step, differences in zip(old, found, strict=True):
            if verdict_of(differences) == Verdict.DIFFERENT:
                sys.stdout.write(report(step, differences))
    return 1 if worst == Verdict.DIFFERENT else 0


def report(step: Step, differences: Sequence[Difference]) -> str:
    lines = [f"{step.store} {step.number}: {step.method} {step.path} {step.body or ''}"[:300]]
    different = [one for one in differences if one.verdict == Verdict.DIFFERENT]
    lines += [f"    {one.where}: {str(one.old)[:200]} → {str(one.new)[:200]}" for one in different[:SHOWN]]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
