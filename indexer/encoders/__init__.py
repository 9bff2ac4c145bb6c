"""Models that map pictures and text into one vector space."""
