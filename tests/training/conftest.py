from pathlib import Path

import pytest

from tests.support.tiny_policy import tiny_folder


@pytest.fixture(scope="session")
def tiny_generator_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("generator"))
