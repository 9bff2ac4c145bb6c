"""Everything that is SQL: `database` opens, migrates, translates errors; each other module owns its tables.

The version of the schema is PRAGMA user_version; migrations are only ever appended.
"""
