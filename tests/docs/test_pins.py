"""The lock of what runs: a part of the development lock, with hashes, without what is only trained with."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
RUN = (ROOT / "requirements-run.lock").read_text()
PINNED = re.compile(r"^([\w.-]+)(?:\[\w,]+\])?==([^\s;]+)", re.M)
BUILD_TOOLS = {"hatchling", "editables", "pathspec", "pluggy", "packaging", "trove-classifiers", "tomlkit"}


def pins(text: str) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in PINNED.findall(text)}


def test_every_pin_of_the_run_lock_has_hashes() -> None:
    entries = [entry for entry in re.split(r"\n(?=\S)", RUN) if PINNED.match(entry)]
    assert len(entries) == len(pins(RUN))
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]


def test_the_run_lock_is_a_part_of_the_development_lock() -> None:
    run, everything = pins(RUN), pins((ROOT / "requirements.lock").read_text())
    assert run.keys() - everything.keys() <= BUILD_TOOLS
    assert {name: everything[name] for name in run.keys() & everything.keys()} == {
        name: version for name, version in run.items() if name in everything
    }
    assert not run.keys() & {"torch", "transformers", "diffusers", "pytest"}


def test_the_run_lock_has_what_the_project_depends_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    run = pins(RUN)
    for line in project["dependencies"]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(run[canonicalize_name(wanted.name)]), line


def test_both_locks_are_within_the_bounds_of_the_extras() -> None:
    everything = pins((ROOT / "requirements.lock").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounded = {"faiss-cpu", "diffusers", "transformers", "open-clip-torch"}
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    found = set()
    for wanted in map(Requirement, [*project["dependencies"], *extras]):
        name = canonicalize_name(wanted.name)
        if name in bounded:
            assert any(bound.operator == "<" for bound in wanted.specifier), f"no upper bound: {wanted}"
            assert wanted.specifier.contains(everything[name]), str(wanted)
            found.add(name)
    assert found == bounded
