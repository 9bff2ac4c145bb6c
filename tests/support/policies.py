"""Policies with random weights."""

from dataclasses import replace
from typing import Any

from training.policies.adapters import Adapter
from training.policies.pipeline import PipelinePolicy
from training.policies.registry import PolicyOptions, load_policy

CPU = PolicyOptions(device="cpu")


def tiny_policy(family: str, adapter: Adapter | None = None, **options: Any) -> PipelinePolicy:  # noqa: ANN401
    policy = load_policy(f"tiny:{family}", adapter, replace(CPU, **options))
    assert isinstance(policy, PipelinePolicy)
    return policy
