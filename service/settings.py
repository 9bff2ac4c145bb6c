"""The only module that reads the environment. A test checks that docs/configuration.md lists each field."""

import logging
import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AliasChoices,
    Field,
    JsonValue,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from rerank.generate.diffusers.options import Dtype, Offload
from rerank.rephrase.endpoint import DEFAULT_OPTIONS, AnswerFormat

LOG = logging.getLogger("kallos.settings")
RENAMED = {"KALLOS_LOG_WISHES": "KALLOS_LOG_QUERIES"}  # former name → name


class Settings(BaseSettings):
    """Example: `KALLOS_DATA_DIR=/srv/kallos KALLOS_PORT=9000 kallos serve`."""

    model_config = SettingsConfigDict(
        env_prefix="KALLOS_", frozen=True, extra="ignore", populate_by_name=True
    )

    data_dir: Path = Path("~/.local/share/kallos")
    collection: str = Field(default="default", pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    model: str | None = None  # None: the collection's own; `builtin` for a new collection
    device: str = "auto"  # auto, cpu, cuda: of torch encoders; with cpu the index stays there too
    scorer: str | None = None  # MODULE:NAME of a `Scorer` of pictures, run when they are indexed
    threads: PositiveInt | None = None  # for decoding and encoding; None: all cores
    index_memory_mb: PositiveInt = 2048  # that the search index may keep resident, beside the page cache
    index_latency_ms: PositiveFloat = 10.0  # of one search: a slower exact scan gets an index
    recall_sample_share: float = Field(default=0.01, ge=0, le=1)  # of searches, answered again exactly
    recall_alert: float = Field(default=0.9, ge=0, le=1)  # /metrics and `kallos stats` warn below it

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    sources: Annotated[tuple[Path, ...], NoDecode] = ()  # folders that POST /jobs/index may read, as in PATH
    max_upload_bytes: PositiveInt = 256 * 2**20  # of one request
    max_concurrent: PositiveInt = 64  # searches at once; more are answered 429
    url_timeout_s: PositiveFloat = 20.0  # for one picture by URL
    allow_private_urls: bool = False  # fetch from private addresses too: only on a network you trust

    job_lease_s: PositiveFloat = (
        15.0  # a job whose server says nothing for so long is run again, by another too
    )

    # Record what people wanted: words that nothing fits, opened hits, promotions.
    log_queries: bool = Field(
        default=False, validation_alias=AliasChoices("KALLOS_LOG_QUERIES", "KALLOS_LOG_WISHES")
    )

    generate_queue: PositiveInt = 32  # pictures' jobs that may wait; more are answered 429
    generate_per_hour: PositiveInt = 200  # pictures that one client may ask for
    generate_wait_s: PositiveFloat = 120.0  # how long the OpenAI and AUTOMATIC1111 routes wait for pictures
    generate_pause_s: PositiveFloat = 3600.0  # before a search tries words again that failed
    generate_blocklist: Path | None = None  # phrases that no prompt may hold, one a line; None: none
    generate_classifier: str | None = None  # MODULE:NAME of a `Classifier` that judges pictures; None: none

    llm_model: str | None = None  # for rephrasing: as the server at llm_url names it, or local:…; None: none
    llm_url: str | None = None  # base of an OpenAI-compatible API, such as http://localhost:11434/v1
    llm_api_key: SecretStr | None = None
    llm_timeout_s: PositiveFloat = 2.0  # for rephrasing one query, all in all
    llm_answer_format: AnswerFormat = "json_schema"  # what the server is asked to hold the model to
    llm_options: dict[str, JsonValue] = Field(
        default_factory=lambda: dict(DEFAULT_OPTIONS)
    )  # of each request

    generator: str | None = (
        None  # as in `kallos generators`; None: what `kallos generator use` put in service
    )
    # The following are for diffusers: ones.
    generator_dtype: Dtype = "auto"
    generator_offload: Offload = "none"
    generator_adapters: str = ""  # LoRA files, FILE=WEIGHT:FILE=WEIGHT
    generator_scheduler: str | None = None  # None, here and below: the model's own
    generator_steps: int | None = None
    generator_guidance: float | None = None

    @model_validator(mode="after")
    def _warn(self) -> Self:
        for former, name in RENAMED.items():
            if former in os.environ:
                LOG.warning("%s is called %s now: the next release does not read the old name", former, name)
        return self

    @field_validator("sources", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part for part in value.split(":") if part) if isinstance(value, str) else value

    @field_validator("data_dir", mode="after")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("sources", mode="after")
    @classmethod
    def _resolve(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(path.expanduser().resolve() for path in value)
