"""How the builtin generator was made."""
