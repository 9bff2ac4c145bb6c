"""Offline learning and evaluation."""
