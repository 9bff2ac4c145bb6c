"""What lies on disk and how it gets there whole: files, locks, maps, vectors, slots and ids.

`files.writing` is the one place where an error of the disk becomes a StoreError; `faults` names the points at
which tests kill the process.
"""
