"""Files that are named by their content: originals, thumbnails, and generators that were put in service."""
