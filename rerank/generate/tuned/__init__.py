"""Weights that a training run left: read, merged, put in service."""
