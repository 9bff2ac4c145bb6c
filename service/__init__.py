"""HTTP, command line and gallery."""
