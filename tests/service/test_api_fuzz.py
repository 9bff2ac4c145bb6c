"""Requests made from the OpenAPI document: no answer is a 5xx, and every answer is what the document says."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.testclient import TestClient

from indexer.sources.open import open_source
from service.app import create_app
from service.settings import Settings
from service.wiring import open_server
from tests.support.painter import Painter
from tests.support.server import write_pictures

pytestmark = pytest.mark.slow

EXAMPLES = 25  # for each operation
ENDLESS = "/jobs/{job_id}/events"  # a stream: it ends with its job


@pytest.mark.parametrize("filled", [True, False], ids=["pictures", "empty"])
def test_any_request_is_answered_as_documented(tmp_path: Path, filled: bool) -> None:
    settings_ = Settings(data_dir=tmp_path / "data", sources=(tmp_path / "pictures",), threads=1)
    if filled:
        write_pictures(tmp_path / "pictures")
        with open_server(settings_) as services:
            source = open_source(tmp_path / "pictures", limits=services.pictures.limits)
            services.intake.ingest().run(source)
    app = create_app(settings_, generator=Painter())
    with TestClient(app):
        tried = set()
        for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
            assert isinstance(found, Ok), found
            operation = found.ok()
            if operation.path == ENDLESS:
                continue
            tried.add(operation.label)

            @settings(
                max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
            )
            @given(case=operation.as_strategy())
            def answered(case: Case[Any]) -> None:
                # A schema cannot say "a query, axes, or both", nor that base64 holds a picture.
                case.call_and_validate(excluded_checks=[positive_data_acceptance])

            answered()
    assert {
        "POST /search",
        "POST /rank",
        "POST /images",
        "POST /axes",
        "POST /jobs/index",
        "POST /generate",
    } <= tried
