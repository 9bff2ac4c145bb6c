"""How probable it is that a search by words found what it was asked for."""
