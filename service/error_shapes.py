"""How other programs' interfaces say what went wrong: their clients read nothing else."""

from collections.abc import Callable

REFUSALS = ("prompt_refused", "picture_refused", "unsafe_picture")

ErrorShape = Callable[[int, str, str], tuple[int, dict[str, object]]]
"""(status, code, detail) → (status, body)."""


def openai_error(status: int, code: str, detail: str) -> tuple[int, dict[str, object]]:
    """As OpenAI's interface says it: 400 for every wrong request."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    kind = "rate_limit_error" if status == 429 else kind
    code = "content_policy_violation" if code in REFUSALS else code
    error = {"message": detail, "type": kind, "param": None, "code": code}
    return 400 if status == 422 else status, {"error": error}


def webui_error(status: int, code: str, detail: str) -> tuple[int, dict[str, object]]:
    """As AUTOMATIC1111's interface says it."""
    return status, {"error": code, "detail": detail, "body": "", "errors": detail}


# By the beginning of a path.
SHAPES: tuple[tuple[str, ErrorShape], ...] = (("/v1/", openai_error), ("/sdapi/", webui_error))
