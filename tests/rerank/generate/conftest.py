"""Tiny pipelines of each family, written once and loaded once for all tests here that do not change them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rerank.generate.diffusers_generator import DiffusersGenerator
from tests.support.drawing import load
from tests.support.tiny_pipelines import write_pipeline
from training.policies.tiny import BUILDERS


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small spend their time on waking threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
