"""Nearest neighbours: the exact scan, and indexes that propose candidates."""
