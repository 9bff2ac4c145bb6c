"""What `rephraser` needs from a language model."""

from typing import ClassVar, Protocol

from indexer.errors import UnavailableError
from rerank.rephrase.prompts import Prompt
from rerank.rephrase.types import Outcome


class ChatError(UnavailableError):
    """The model gave no answer; `outcome` says how. Never leaves `rephraser`."""

    outcome: ClassVar[Outcome] = "unreachable"


class ChatTimeoutError(ChatError):
    outcome = "timeout"


class ChatAnswerError(ChatError):
    """Something came back that is not a model's answer."""

    outcome = "refused_answer"


class ChatModel(Protocol):
    """Answers a prompt with text. May be called from several threads."""

    @property
    def model_id(self) -> str:
        """Names the model and all that changes what it writes: answers are cached by it. Holds no secret."""
        ...

    def complete(self, prompt: Prompt, timeout_s: float) -> str:
        """The answer as it was written: untrusted.

        Returns or raises within `timeout_s`, but for a model in this process while it is being loaded.
        Raises ChatError and nothing else, with no secret in its message.
        """
        ...

    def close(self) -> None: ...
