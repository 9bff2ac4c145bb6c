"""Runs before any test module is imported."""

from tests.support.torchvision_operators import declare_missing_operators

declare_missing_operators()
