"""The `kallos` command."""
