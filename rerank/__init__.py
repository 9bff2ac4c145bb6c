"""A query and candidates → an ordered list."""
