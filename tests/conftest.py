"""Runs before any test module is imported."""

import pytest
from hypothesis import settings

from tests.support.torchvision_operators import declare_missing_operators

declare_missing_operators()
settings.register_profile("kallos", deadline=None)  # a busy machine is no fault of what is tested
settings.load_profile("kallos")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first, so that no core waits at the end for the last of them."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
