"""Conditions on metadata: `language` parses them, `columns` evaluates them, `geo` knows the earth."""
