"""Rank axes: taught, judged, kept as files, and added up for pictures."""
