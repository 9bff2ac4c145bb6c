"""The local store: pictures of one encoder in a folder.

`collection` writes and opens snapshots; a `snapshot` answers (`indexer.protocols.Snapshot`) with the help of
`candidates` (the search), `known_rows` (ids and rows) and `attribute_values`. `index_store` says which index
is in force, `compaction` makes it and reclaims space; `backup` and `verify` take care of the whole directory.
"""
