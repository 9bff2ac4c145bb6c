"""What pictures are asked for while training, and what for when it is judged."""
