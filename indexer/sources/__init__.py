"""Where pictures come from: folders, shards, lists (`open` chooses), files beside them (`sidecars`), URLs."""
