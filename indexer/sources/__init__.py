"""Where pictures come from: folders, shards and lists (`sources`), files beside them (`sidecars`), URLs."""
