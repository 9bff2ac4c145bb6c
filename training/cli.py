"""`kallos-train`: the offline side. A command is imported when it is asked for."""

import sys
from collections.abc import Collection
from pkgutil import resolve_name

import typer

from indexer.errors import InvalidInputError, KallosError
from training.policy_gradient.cli import add_commands

# Where each command is, and the first paragraph of its own help; those of policy gradients are light.
COMMANDS: dict[str, tuple[str, str]] = {
    "encoder": ("training.encoder.cli:encoder_app", "The builtin encoders."),
    "generator": ("training.generator.cli:generator_app", "The builtin generator."),
    "materials": ("training.rankability.cli:materials_app", "Pictures from package managers."),
    "prompts": ("training.prompts.cli:prompts_app", "What to draw while training."),
    "rewards": ("training.rewards.cli:rewards_app", "What a picture is worth."),
    "evaluate": ("training.evaluate_cli:evaluate_app", "How good is it?"),
    "dry-run": (
        "training.policy_gradient.dry_cli:dry_run",
        "How much GPU memory a run needs; then each of its algorithms makes two updates of random weights.",
    ),
    "spro-prompt": (
        "training.spro.cli:spro_prompt",
        "Rounds of self-play: the Guider learns from its best and worst prompts.",
    ),
    "spro-image": (
        "training.spro.cli:spro_image",
        "Fine-tune the generator on plain captions with the winners' pictures of `spro-prompt`.",
    ),
    "spro-evaluate": (
        "training.spro.cli:spro_evaluate",
        "Held-out captions: plain, untrained Guider, each round, SPRO-Image, SPRO-MM. Prints the table.",
    ),
}


def make_app(load: Collection[str]) -> typer.Typer:
    """The commands called in `load`; of the others, in their place, what each is for."""
    app = typer.Typer(
        no_args_is_help=True, add_completion=False, help="Train and evaluate what Kallos ships."
    )
    add_commands(app)
    for name, (place, help_text) in COMMANDS.items():
        if name not in load:
            app.command(name, help=help_text)(_not_loaded)
        elif isinstance(found := resolve_name(place), typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def _not_loaded() -> None:
    raise AssertionError("the command that is asked for is loaded")


def main() -> None:
    try:
        make_app(sys.argv[1:2])()
    except KallosError as error:
        sys.stderr.write(f"{error} [{error.code}]\n")
        sys.exit(2 if isinstance(error, InvalidInputError) else 1)
