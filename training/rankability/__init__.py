"""How well a model's vectors order pictures by an attribute, along one straight direction."""
