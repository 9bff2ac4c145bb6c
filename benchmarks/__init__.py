"""The figures that the README quotes: each command measures, prints a table and writes JSON.

Reached by `kallos bench`, and by nothing else. `contenders` holds clients of other engines.
"""
