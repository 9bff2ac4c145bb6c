"""Pictures on demand: what is asked for, the job that makes it, and what becomes of the result."""
