"""The figures that the README quotes: each command measures, prints a table and writes JSON."""
