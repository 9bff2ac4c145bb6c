"""A generator whose weights can be trained: one class for each architecture, behind one protocol."""
