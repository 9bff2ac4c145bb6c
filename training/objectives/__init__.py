"""What is minimised: equations, each in one file, as pure functions."""
