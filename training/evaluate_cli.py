"""`kallos-train evaluate …`: how good is what was trained?"""

import typer

from training.comparison_cli import evaluate_run
from training.generator.cli import evaluate_generator
from training.rankability.cli import evaluate_rankability

evaluate_app = typer.Typer(no_args_is_help=True, help="How good is it?")
evaluate_app.command("generator")(evaluate_generator)
evaluate_app.command("rankability")(evaluate_rankability)
evaluate_app.command("run")(evaluate_run)
