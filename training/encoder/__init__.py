"""How the builtin encoder was made."""
