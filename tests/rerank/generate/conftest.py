"""Tiny pipelines of each family, written once and loaded once for all tests here that do not change them."""

from pathlib import Path

import pytest

from rerank.generate.diffusers.generator import DiffusersGenerator
from tests.support.drawing import load
from tests.support.threads import one_thread as one_thread
from tests.support.tiny_pipelines import write_pipeline
from training.policies.tiny import BUILDERS


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pipelines")
    for family in BUILDERS:
        write_pipeline(family, root / family)
    return root


@pytest.fixture(scope="session")
def generators(folders: Path) -> dict[str, DiffusersGenerator]:
    return {family: load(folders / family) for family in BUILDERS}


@pytest.fixture
def sd15(generators: dict[str, DiffusersGenerator]) -> DiffusersGenerator:
    return generators["sd15"]
