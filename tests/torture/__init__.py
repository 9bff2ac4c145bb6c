"""Long runs that try to lose a picture. `make torture`; a short form is part of the tests."""
