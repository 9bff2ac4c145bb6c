"""`kallos-train prompts …`: what to draw while training."""

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from indexer.errors import InvalidInputError
from rerank.generate.safety import Blocklist
from training.prompts.prompt_set import PromptsConfig, is_held_out

prompts_app = typer.Typer(no_args_is_help=True, help="What to draw while training.")


@prompts_app.callback()
def prompts() -> None:
    """What to draw while training."""


@prompts_app.command("from-log")
def from_log(
    data_dir: Annotated[Path, typer.Argument(help="The data directory of a service; it is only read.")],
    out: Annotated[Path, typer.Option(help="JSON lines to write: prompt, weight, kinds.")],
    least: Annotated[int, typer.Option(min=1, help="Leave out what was wanted less often.")] = 1,
    blocklist: Annotated[
        Path | None, typer.Option(help="Phrases that no prompt may hold, one a line.")
    ] = None,
    collection: Annotated[str, typer.Option(help="Which collection of the data directory.")] = "default",
) -> None:
    """Prompts that people wanted: searches that nothing fitted, opened hits, generated pictures they kept."""
    from training.prompts.from_log import prompts_from_log, write_prompts

    refused = None if blocklist is None else Blocklist.read(blocklist)
    found = prompts_from_log(data_dir, collection=collection, least=least, blocklist=refused)
    if not found:
        raise InvalidInputError(f"{data_dir} holds no prompts that could be kept: nothing was written")
    write_prompts(found, out)
    kinds: Counter[str] = Counter()
    for one in found:
        kinds.update(one.kinds)
    share = PromptsConfig().held_out
    held = sum(is_held_out(one.text, share) for one in found)
    for name, count in sorted(kinds.items()):
        sys.stdout.write(f"{name}\t{count}\n")
    sys.stdout.write(f"prompts\t{len(found)}\nheld out\t{held}\n")
