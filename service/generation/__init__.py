"""Pictures on demand: wishes, the job that grants them, and what becomes of the result."""
