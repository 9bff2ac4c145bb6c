"""Policies with random weights."""

from dataclasses import replace
from typing import Any

from training.policies.options import Adapter, PolicyOptions
from training.policies.pipeline import PipelinePolicy
from training.policies.registry import load_policy

CPU = PolicyOptions(device="cpu")


def tiny_policy(family: str, adapter: Adapter | None = None, **options: Any) -> PipelinePolicy:  # noqa: ANN401
    policy = load_policy(f"tiny:{family}", adapter, replace(CPU, **options))
    assert isinstance(policy, PipelinePolicy)
    return policy
