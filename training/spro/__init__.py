"""Self-play: a language model learns to ask the generator, from which of its own pictures score best."""
