"""Pixels and text → vectors and rows on disk → nearest neighbours."""
