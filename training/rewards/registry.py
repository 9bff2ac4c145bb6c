"""Rewards by name: what there is, and how each is made from its configuration.

Loading reads this machine alone. Only a `remote:` reward opens connections, when it scores.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from indexer.collection.made_with import find_made_with
from indexer.encoders.known_models import name_within
from indexer.encoders.registry import load_encoder
from indexer.encoders.tensor_files import read_checkpoint, read_safetensors
from indexer.errors import InvalidInputError, UnknownModelError
from indexer.protocols import Encoder
from rerank.axes.axis_values import value_of
from rerank.axes.defaults import shipped_or_prompted
from rerank.axes.heads import Head, activation_named
from training.rewards.axis import load_axis
from training.rewards.cached_encoder import CachedEncoder
from training.rewards.cards import CARDS
from training.rewards.checked import CheckedReward
from training.rewards.config import PartConfig, RewardConfig
from training.rewards.embedded import AgreementReward, EmbeddedReward
from training.rewards.mixture import MixtureReward, Part
from training.rewards.pixels import ColourfulnessReward, JpegReward
from training.rewards.preference import load_hps, load_pickscore
from training.rewards.remote import RemoteReward
from training.rewards.reward import Reward, RewardCard

CHECKPOINTS = (".pt", ".pth")


class RewardLoader:
    """Makes rewards. Those of one loader share their encoders, and with them what was encoded.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N"; the builtin encoder runs on the CPU.
        threads: Of the encoders on a CPU; None lets the library choose.
        cache: The Hugging Face cache folder, None the usual one.
    """

    def __init__(
        self, *, device: str = "auto", threads: int | None = None, cache: Path | None = None
    ) -> None:
        self.device = device
        self.cache = cache
        self._threads = threads
        self._encoders: dict[str, tuple[Encoder, CachedEncoder]] = {}
        self._loaded: dict[RewardConfig, Reward] = {}

    def load(self, config: RewardConfig) -> Reward:
        """The reward; the same one when asked for again.

        Raises:
            UnknownModelError: No reward has this name.
            InvalidInputError: A key that is not for this reward, or one that it needs is missing.
            UnavailableError: Weights or libraries are not on this machine.
        """
        if config not in self._loaded:
            kind, _ = kind_of(config.name)
            unknown = sorted(config.given() - kind.keys)
            if unknown:
                keys = ", ".join(sorted(kind.keys)) or "none"
                raise InvalidInputError(
                    f"reward {config.name}: {', '.join(unknown)} is not for it; it takes: {keys}"
                )
            self._loaded[config] = CheckedReward(kind.make(config, self, kind.card))
        return self._loaded[config]

    def encoder(self, name: str) -> tuple[Encoder, CachedEncoder]:
        if name not in self._encoders:
            encoder = load_encoder(name, device=self.device, threads=self._threads)
            self._encoders[name] = (encoder, CachedEncoder.of(encoder))
        return self._encoders[name]


Make = Callable[[RewardConfig, RewardLoader, RewardCard], Reward]


@dataclass(frozen=True, slots=True)
class Kind:
    """What there is under a name: its card, the keys of its configuration, and what makes it."""

    card: RewardCard
    keys: frozenset[str]
    make: Make


def kind_of(name: str) -> tuple[Kind, str]:
    """The kind, and what follows the colon of `axis:NAME` and `remote:URL`.

    Raises UnknownModelError, with what is possible, for any other name.
    """
    for pattern, kind in KINDS.items():
        prefix, colon, _ = pattern.partition(":")
        if name == pattern and not colon:
            return kind, ""
        if colon and name.startswith(prefix + colon) and name not in (prefix + colon, pattern):
            return kind, name.removeprefix(prefix + colon)
    raise UnknownModelError(f"{name!r} is no reward; possible: {', '.join(KINDS)}")


def _aesthetic(config: RewardConfig, loader: RewardLoader, card: RewardCard) -> Reward:
    encoder, cached = loader.encoder(config.encoder)
    if config.head:
        head = _head(Path(config.head).expanduser(), config.activation)
        if head.dim != encoder.dim:
            raise InvalidInputError(
                f"the head {config.head} takes {head.dim} numbers, {encoder.model_id} makes {encoder.dim}"
            )
        source = f"{Path(config.head).name} on {encoder.model_id}"
        # The range of the LAION heads, which learned marks from 1 to 10.
        return EmbeddedReward(
            cached, head, replace(card, low=4.0, high=9.0, licence="that of the head", source=source)
        )
    if config.activation:
        raise InvalidInputError(f"activation is {config.activation!r}, but there is no head")
    axis = shipped_or_prompted("aesthetics", encoder)
    source = f"v·x of the axis aesthetics on {encoder.model_id}: {axis.card}"
    return EmbeddedReward(cached, value_of(axis), replace(card, licence=encoder.licence, source=source))


def _head(path: Path, activation: str) -> Head:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"the head {path} cannot be read: {error}") from error
    tensors = read_checkpoint(data) if path.suffix.lower() in CHECKPOINTS else read_safetensors(data)
    return Head.of_tensors(tensors, activation_named(activation) if activation else None)


def _agreement(config: RewardConfig, loader: RewardLoader, card: RewardCard) -> Reward:
    encoder, cached = loader.encoder(config.encoder)
    return AgreementReward(
        cached,
        replace(card, licence=encoder.licence, source=f"cosine of the embeddings of {encoder.model_id}"),
    )


def _axis(config: RewardConfig, loader: RewardLoader, card: RewardCard) -> Reward:
    if not config.data_dir:
        raise InvalidInputError(f"reward {config.name}: data_dir is missing, the folder of the collection")
    _, name = kind_of(config.name)
    data_dir = Path(config.data_dir).expanduser()
    made = find_made_with(data_dir, config.collection)
    encoder, _ = loader.encoder(name_within(config.encoder, made.model_id) if made else config.encoder)
    card = replace(card, licence=encoder.licence)
    return load_axis(name, data_dir, config.collection, encoder, card)


def _jpeg(config: RewardConfig, loader: RewardLoader, card: RewardCard) -> Reward:
    if not 1 <= config.quality <= 95:
        raise InvalidInputError(f"quality is {config.quality}: expected 1 to 95")
    return JpegReward(card, config.quality, 1 if card.name == INCOMPRESSIBLE else -1)


def _colourfulness(config: RewardConfig, loader: RewardLoader, card: RewardCard) -> Reward:
    return ColourfulnessReward(card)


def _pickscore(config: RewardConfig, loader: RewardLoader, card: RewardCard) -> Reward:
    return load_pickscore(config.weights, card, device=loader.device, cache=loader.cache)


def _hps(config: RewardConfig, loader: RewardLoader, card: RewardCard) -> Reward:
    return load_hps(config.weights, card, device=loader.device, cache=loader.cache)


def _remote(config: RewardConfig, loader: RewardLoader, card: RewardCard) -> Reward:
    card = replace(
        card,
        name=config.name,
        low=config.low,
        high=config.high,
        needs_prompt=config.needs_prompt,
        licence=config.licence,
    )
    _, url = kind_of(config.name)
    return RemoteReward(url, card, batch=config.batch, timeout_s=config.timeout_s)


def _mixture(config: RewardConfig, loader: RewardLoader, card: RewardCard) -> Reward:
    if not config.parts:
        raise InvalidInputError("reward mixture: parts are missing: expected one [[reward.parts]] or more")
    return MixtureReward([_part(part, loader) for part in config.parts], card)


def _part(config: PartConfig, loader: RewardLoader) -> Part:
    reward = loader.load(config.reward)
    if config.scale == "raw":
        return Part(reward, config.weight)
    return Part(reward, config.weight, config.mean, config.std)


INCOMPRESSIBLE = "jpeg-incompressible"
MAKERS: Mapping[str, tuple[Make, tuple[str, ...]]] = {
    "aesthetic": (_aesthetic, ("encoder", "head", "activation")),
    "agreement": (_agreement, ("encoder",)),
    "pickscore": (_pickscore, ("weights",)),
    "hpsv2.1": (_hps, ("weights",)),
    "jpeg": (_jpeg, ("quality",)),
    INCOMPRESSIBLE: (_jpeg, ("quality",)),
    "colourfulness": (_colourfulness, ()),
    "axis:NAME": (_axis, ("data_dir", "collection", "encoder")),
    "remote:URL": (_remote, ("batch", "timeout_s", "low", "high", "needs_prompt", "licence")),
    "mixture": (_mixture, ("parts",)),
}
KINDS: Mapping[str, Kind] = {
    card.name: Kind(card, frozenset(MAKERS[card.name][1]), MAKERS[card.name][0]) for card in CARDS
}
