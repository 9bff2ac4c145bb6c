"""Errors of Kallos as HTTP answers."""

from fastapi import FastAPI
from fastapi.testclient import TestClient

from indexer import errors as ours
from indexer.errors import KallosError, UnsupportedError
from service import errors


def client_of(error: Exception) -> TestClient:
    app = FastAPI()
    errors.install(app)

    @app.get("/it")
    def it() -> None:
        raise error

    return TestClient(app, raise_server_exceptions=False)


def test_what_a_store_cannot_do_is_named() -> None:
    error = UnsupportedError("exact_order", "this store cannot order a collection exactly: expected a query")
    found = client_of(error).get("/it")
    assert found.status_code == 501
    assert found.headers["content-type"] == "application/problem+json"
    body = found.json()
    assert (body["code"], body["capability"], body["title"]) == (
        "not_supported",
        "exact_order",
        "Not supported",
    )


def test_every_error_has_a_status_of_its_own_kind() -> None:
    kinds = [kind for kind in vars(ours).values() if isinstance(kind, type) and issubclass(kind, KallosError)]
    unknown = [
        kind.__name__
        for kind in kinds
        if kind is not KallosError and not any(issubclass(kind, known) for known, _ in errors.STATUS)
    ]
    assert unknown == []
