"""Pixels and text → vectors and rows on disk → nearest neighbours."""

from indexer.supported import check_platform

check_platform()
