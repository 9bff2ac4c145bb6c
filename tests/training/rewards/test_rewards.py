"""Names, keys, mixtures, held-out rewards, pixels, a shared encoder."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float32, UInt8
from numpy import ndarray
from PIL import Image
from safetensors.numpy import save_file

from indexer.errors import InvalidAxisError, InvalidInputError, UnavailableError, UnknownModelError
from tests.support.generated_pictures import pictures
from tests.support.taught_collection import taught_collection
from tests.support.tiny_clip import DIM, tiny_clip
from training.config import of_table, read_config
from training.rewards.cached_encoder import CachedEncoder
from training.rewards.checked import CheckedReward
from training.rewards.cli import RewardFile
from training.rewards.config import PartConfig, RewardConfig
from training.rewards.embedded import EmbeddedReward
from training.rewards.held_out import declare
from training.rewards.registry import KINDS, RewardLoader, kind_of

PROMPTS = ["a kite"] * 5
MIXTURE = """
[reward]
name = "mixture"
[[reward.parts]]
weight = 2
scale = "standardised"
mean = 40
std = 20.0
reward = { name = "colourfulness" }
[[reward.parts]]
weight = -0.5
scale = "raw"
reward = { name = "jpeg", quality = 80 }
"""


@pytest.fixture(scope="module")
def loader() -> RewardLoader:
    return RewardLoader(device="cpu", threads=1)


def test_a_mixture_is_the_sum_that_its_file_says(tmp_path: Path, loader: RewardLoader) -> None:
    (tmp_path / "run.toml").write_text(MIXTURE)
    mixture = loader.load(read_config(RewardFile, tmp_path / "run.toml").reward)
    colour_N = loader.load(RewardConfig("colourfulness")).score(pictures(), PROMPTS)
    jpeg_N = loader.load(RewardConfig("jpeg", quality=80)).score(pictures(), PROMPTS)
    expected_N = 2 * (colour_N - 40) / 20 - 0.5 * jpeg_N
    np.testing.assert_allclose(mixture.score(pictures(), PROMPTS), expected_N, rtol=1e-12)
    assert mixture.card.source == "2 x (colourfulness - 40) / 20 + -0.5 x jpeg"
    # Colourfulness 0 … 110 gives -4 … 7, JPEG -150 … 0 gives 0 … 75.
    assert (mixture.card.low, mixture.card.high) == (-4.0, 82.0)
    assert not mixture.card.needs_prompt


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"weight": 0.0, "scale": "raw"}, "weight is 0.0"),
        ({"weight": float("nan"), "scale": "raw"}, "weight is nan"),
        ({"weight": 1.0, "scale": "batch"}, "scale is 'batch': expected one of raw, standardised"),
        ({"weight": 1.0, "scale": "raw", "std": 2.0}, "given for a raw part"),
        ({"weight": 1.0, "scale": "standardised"}, "needs a finite mean and a positive std"),
        ({"weight": 1.0, "scale": "standardised", "mean": 1.0, "std": -1.0}, "positive std"),
    ],
)
def test_a_part_says_its_scale_and_nothing_that_contradicts_it(part: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        of_table(PartConfig, {"reward": {"name": "jpeg"}, **part}, "run.toml")


@pytest.mark.parametrize("name", ["aesthetics", "axis:", "remote:", "axis:NAME", "remote:URL", "jpeg:", ""])
def test_an_unknown_name_lists_what_is_possible(name: str) -> None:
    with pytest.raises(UnknownModelError, match=r"possible: aesthetic, agreement, .*axis:NAME"):
        kind_of(name)


def test_a_key_of_another_reward_is_refused(loader: RewardLoader) -> None:
    with pytest.raises(
        InvalidInputError, match="reward jpeg: head, timeout_s is not for it; it takes: quality"
    ):
        loader.load(RewardConfig("jpeg", head="x", timeout_s=2.0))


def test_every_key_of_the_configuration_is_for_some_reward() -> None:
    taken = set().union(*(kind.keys for kind in KINDS.values()))
    assert taken == set(RewardConfig.__slots__) - {"name"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (RewardConfig("mixture"), "parts are missing"),
        (RewardConfig("axis:calm"), "data_dir is missing"),
        (RewardConfig("jpeg", quality=100), "quality is 100: expected 1 to 95"),
        (RewardConfig("aesthetic", activation="relu"), "there is no head"),
        (RewardConfig("aesthetic", head="/nowhere.safetensors"), "cannot be read"),
    ],
)
def test_what_is_missing_or_out_of_range_is_said(
    config: RewardConfig, message: str, loader: RewardLoader
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        loader.load(config)


def test_a_head_belongs_to_an_encoder_of_its_width(tmp_path: Path, loader: RewardLoader) -> None:
    head = tmp_path / "head.safetensors"
    save_file({"weight": np.ones((1, DIM), np.float32)}, head)
    assert loader.load(RewardConfig("aesthetic", encoder=tiny_clip().name, head=str(head))).card.high == 9.0
    with pytest.raises(InvalidInputError, match=f"takes {DIM} numbers, builtin-2 makes 640"):
        loader.load(RewardConfig("aesthetic", head=str(head)))
    with pytest.raises(InvalidAxisError, match="activation 'tanh' is not known"):
        loader.load(RewardConfig("aesthetic", encoder=tiny_clip().name, head=str(head), activation="tanh"))


def part_of(name: str, weight: float = 1.0) -> RewardConfig:
    return RewardConfig("mixture", parts=(PartConfig(RewardConfig(name), weight, "raw"),))


@pytest.mark.parametrize(
    ("trained", "held_out"),
    [
        (RewardConfig("jpeg"), RewardConfig("jpeg")),
        (RewardConfig("jpeg"), RewardConfig("jpeg-incompressible")),
        (part_of("colourfulness", -3.0), RewardConfig("colourfulness")),
        (RewardConfig("colourfulness"), part_of("colourfulness")),
        (RewardConfig("aesthetic"), RewardConfig("aesthetic")),
    ],
)
def test_a_reward_that_is_trained_on_is_not_held_out(
    trained: RewardConfig, held_out: RewardConfig, loader: RewardLoader
) -> None:
    with pytest.raises(InvalidInputError, match="cannot be judged by what it was trained on"):
        declare(trained, [RewardConfig("agreement"), held_out], loader)


def test_a_reward_is_recognised_under_another_name(tmp_path: Path, loader: RewardLoader) -> None:
    """An axis of the same measure is a scaled and shifted copy of it."""
    taught_collection(tmp_path)
    axis = RewardConfig("axis:colour", data_dir=str(tmp_path), encoder=tiny_clip().name)
    with pytest.raises(InvalidInputError, match="'axis:colour' is held out, but 'colourfulness'"):
        declare(RewardConfig("colourfulness"), [axis], loader)


def test_different_rewards_are_told_apart(loader: RewardLoader) -> None:
    names = ("aesthetic", "agreement", "jpeg", "colourfulness")
    for name in names:
        held_out = [RewardConfig(other) for other in names if other != name]
        declared = declare(RewardConfig(name), held_out, loader)
        assert declared.trained.card.name == name
        assert [reward.card.name for reward in declared.held_out] == [config.name for config in held_out]


def test_a_jpeg_is_measured_in_kilobytes(loader: RewardLoader) -> None:
    out = io.BytesIO()
    Image.fromarray(pictures()[0]).save(out, "JPEG", quality=95)
    (score,) = loader.load(RewardConfig("jpeg")).score(pictures()[:1], [""])
    assert score == -len(out.getvalue()) / 1000


def test_colourfulness_of_two_halves_is_what_the_formula_says(loader: RewardLoader) -> None:
    """Red and blue halves: rg is 255 and 0, yb is 127.5 and -255; both have half their range as deviation."""
    pixels = np.zeros((160, 160, 3), np.uint8)
    pixels[:, :80, 0] = pixels[:, 80:, 2] = 255
    expected = np.hypot(127.5, 191.25) + 0.3 * np.hypot(127.5, -63.75)
    (score,) = loader.load(RewardConfig("colourfulness")).score([pixels], [""])
    assert score == pytest.approx(expected, rel=1e-5)


class Counting:
    """A picture's row is its mean, a prompt's its length; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def images(self, pictures: Sequence[UInt8[ndarray, "_ _ 3"]]) -> Float32[ndarray, "n d"]:
        self.asked.append(len(pictures))
        return np.array([[picture.mean()] for picture in pictures], np.float32)

    def texts(self, texts: Sequence[str]) -> Float32[ndarray, "n d"]:
        self.asked.append(-len(texts))
        return np.array([[len(text)] for text in texts], np.float32)


def test_a_batch_is_looked_at_once_and_a_prompt_once_and_alone() -> None:
    counting = Counting()
    encoder = CachedEncoder(counting.images, counting.texts)
    for _ in range(2):
        encoder.images(pictures())
        assert encoder.texts(["kite", "hill", "kite"]).tolist() == [[4], [4], [4]]
    assert counting.asked == [5, -1, -1]
    encoder.images(pictures()[:4])
    assert counting.asked[3:] == [4]


def test_the_same_bytes_in_another_shape_are_another_picture() -> None:
    counting = Counting()
    encoder = CachedEncoder(counting.images, counting.texts)
    encoder.images([np.zeros((2, 8, 3), np.uint8)])
    encoder.images([np.zeros((4, 4, 3), np.uint8)])
    assert counting.asked == [1, 1]


@pytest.mark.parametrize(
    ("value", "what"), [(np.nan, "1 of them not finite"), ([1.0, 2.0], "gave 2 scores for 1")]
)
def test_a_reward_that_breaks_its_promise_is_stopped(value: object, what: str) -> None:
    counting = Counting()
    inner = EmbeddedReward(
        CachedEncoder(counting.images, counting.texts),
        lambda _: np.atleast_1d(np.array(value)),
        KINDS["aesthetic"].card,
    )
    with pytest.raises(UnavailableError, match=what):
        CheckedReward(inner).score(pictures()[:1], [""])
