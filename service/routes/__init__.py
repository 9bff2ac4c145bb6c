"""One file per resource: parse, one call, format."""
