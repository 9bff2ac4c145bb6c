"""Pictures from a source into a collection, and measures for pictures that lack them."""
