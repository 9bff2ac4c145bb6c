"""Samplers with log-probabilities: the mathematics of drawing, without a network."""
