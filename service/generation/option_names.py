"""Options of a generator, as whoever runs Kallos calls them.

`rerank.generate` writes them as `NAME=VALUE` in backticks, in its errors and its notes.
"""

import re
from dataclasses import fields

from rerank.generate.diffusers.options import GeneratorOptions

PREFIX = "KALLOS_GENERATOR_"
# The device is that of encoders too, and weights are those of what is in service.
NAMES = [field.name for field in fields(GeneratorOptions) if field.name not in ("device", "weights")]
OPTION = re.compile(rf"`({'|'.join(NAMES)})=([^`]+)`")


def with_settings(text: str) -> str:
    """`offload=model` → KALLOS_GENERATOR_OFFLOAD=model."""
    return OPTION.sub(lambda found: f"{PREFIX}{found[1].upper()}={found[2]}", text)
