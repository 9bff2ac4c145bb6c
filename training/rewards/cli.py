"""`kallos-train rewards …`: which rewards there are, and what pictures are worth to one of them."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from indexer.errors import InvalidInputError, UnreadableImageError
from indexer.imaging.decode import Limits, decode
from training.config import read_config
from training.rewards.cards import CARDS
from training.rewards.config import RewardConfig
from training.rewards.preference import hps_is_here, pickscore_is_here
from training.rewards.reward import RewardCard

FULL_SIDE = 1 << 14  # pixels: pictures are scored at the size that they have

rewards_app = typer.Typer(no_args_is_help=True, help="What a picture is worth.")

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@dataclass(frozen=True, slots=True)
class RewardFile:
    """A file whose one table says which reward."""

    reward: RewardConfig


@rewards_app.command("list")
def list_rewards(as_json: AsJson = False) -> None:
    """Every reward with its usual range, whether it needs a prompt, its licence, and whether it is here."""
    rows = [{**asdict(card), "status": _status(card)} for card in CARDS]
    if as_json:
        sys.stdout.write(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("reward", "range", "prompt", "licence", "status", "what it is"):
        table.add_column(heading, overflow="fold")
    for card in CARDS:
        between = "" if card.low == card.high else f"{card.low:g} … {card.high:g}"
        asked = "yes" if card.needs_prompt else "no"
        table.add_row(card.name, between, asked, card.licence, _status(card), card.source)
    Console().print(table)


@rewards_app.command("score")
def score(
    name: Annotated[
        str, typer.Argument(help="A name of `rewards list`, or a TOML file with a table [reward].")
    ],
    pictures: Annotated[list[Path], typer.Argument(help="Picture files.")],
    prompt: Annotated[
        str, typer.Option(help="What they were asked for with, where the reward needs it.")
    ] = "",
    encoder: Annotated[str, typer.Option(help="For aesthetic, agreement and axis:NAME.")] = "builtin",
    data_dir: Annotated[str, typer.Option(help="Folder of the collection, for axis:NAME.")] = "",
    head: Annotated[str, typer.Option(help="Published head, for aesthetic: .safetensors or .pth.")] = "",
    weights: Annotated[str, typer.Option(help="Local weights, for pickscore and hpsv2.1.")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Score pictures; the last two lines are mean and standard deviation, as a mixture wants them."""
    from training.rewards.registry import RewardLoader

    config = RewardConfig(name, encoder=encoder, data_dir=data_dir, head=head, weights=weights)
    if name.endswith(".toml"):
        config = read_config(RewardFile, Path(name)).reward
    reward = RewardLoader(device=device).load(config)
    if reward.card.needs_prompt and not prompt.strip():
        raise InvalidInputError(f"reward {reward.card.name} needs a prompt: --prompt WORDS")
    score_N = reward.score([_pixels(path) for path in pictures], [prompt] * len(pictures))
    mean, std = float(np.mean(score_N)), float(np.std(score_N))
    if as_json:
        scores = dict(zip(map(str, pictures), score_N.tolist(), strict=True))
        document = {"card": asdict(reward.card), "prompt": prompt, "scores": scores, "mean": mean, "std": std}
        sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=1) + "\n")
        return
    for label, value in [*zip(pictures, score_N.tolist(), strict=True), ("mean", mean), ("std", std)]:
        sys.stdout.write(f"{label}\t{value:.6g}\n")


def _pixels(path: Path) -> np.ndarray:
    try:
        return decode(path.read_bytes(), Limits.from_memory(), name=path.name, side=FULL_SIDE).pixels
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error}") from error
    except UnreadableImageError as error:
        raise UnreadableImageError(error.reason, f"{path}: {error}") from error


def _status(card: RewardCard) -> str:
    if card.name == "pickscore":
        return "cached" if pickscore_is_here() else "to be downloaded"
    if card.name == "hpsv2.1":
        return "cached" if hps_is_here() else "to be downloaded"
    return "ready"
