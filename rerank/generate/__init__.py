"""Words → a picture, when the collection holds none that fits."""
