from collections.abc import Iterator

import httpx
import pytest

from tests.support.server import kallos_server


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server of this module's own."""
    with kallos_server(tmp_path_factory.mktemp("kallos")) as client:
        yield client
