"""`python -m tests.support.train_tiny FOLDER PROCESSES`: train the tiny generator as a program of its own.

The processes that it starts import this module first: torchvision's operators are declared in them, too.
"""

import sys
from pathlib import Path

from tests.support.torchvision_operators import declare_missing_operators

declare_missing_operators()

if __name__ == "__main__":
    from tests.support.tiny_generator import tiny_config
    from training.generator.train import train

    train(tiny_config(steps=2, processes=int(sys.argv[2])), Path(sys.argv[1]))
