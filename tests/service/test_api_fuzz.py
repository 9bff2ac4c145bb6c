"""Requests made from the OpenAPI document: no answer is a 5xx, and every answer is what the document says."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.support.server import write_pictures


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[schemathesis.BaseSchema]:
    root: Path = tmp_path_factory.mktemp("fuzz")
    write_pictures(root / "pictures")
    app = create_app(Settings(data_dir=root / "data", sources=(root / "pictures",), threads=1))
    with TestClient(app):
        yield schemathesis.openapi.from_asgi("/openapi.json", app)


api = schemathesis.pytest.from_fixture("schema")


@api.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_request_is_answered_as_documented(case: schemathesis.Case) -> None:
    if case.path.endswith("/events"):
        return  # a stream ends with its job
    case.call_and_validate()
