"""The law of `training.rewards.reward.Reward`, on every implementation."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import UInt8
from numpy import ndarray

from indexer.encoders.registry import load_encoder
from indexer.errors import InvalidInputError
from tests.support.files import halves
from tests.support.generated_pictures import pictures
from tests.support.reward_server import RewardServer, reward_server
from tests.support.taught_collection import head_file, taught_collection
from tests.support.tiny_clip import tiny_clip
from tests.support.tiny_rewards import HPS_MODEL, PROMPT, liked, other, tiny_hps, tiny_pickscore
from training.rewards.cards import CARDS
from training.rewards.checked import CheckedReward
from training.rewards.config import PartConfig, RewardConfig
from training.rewards.preference import load_hps
from training.rewards.registry import RewardLoader, kind_of
from training.rewards.reward import Reward

ROUNDING = 1e-4  # of scores of about 1: other batch sizes take other summation orders
Picture = UInt8[ndarray, "h w 3"]
FLAT = np.full((64, 64, 3), 128, np.uint8)
VIVID = np.asarray(halves((255, 0, 0), (0, 0, 255), (64, 64)))
DETAIL = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
PROMPTS = (PROMPT, "a green hill", "", "two dogs on a beach", "a red kite a red kite")


@dataclass(frozen=True, slots=True)
class Case:
    """`better` is worth more than `worse` when asked for with PROMPT, and why is known."""

    reward: Reward
    better: Picture
    worse: Picture


@functools.cache
def loader() -> RewardLoader:
    return RewardLoader(device="cpu", threads=1)


@pytest.fixture(scope="module")
def server() -> Iterator[RewardServer]:
    with reward_server() as state:
        yield state


@pytest.fixture(scope="module")
def cases(server: RewardServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    folder = tmp_path_factory.mktemp("rewards")
    taught_collection(folder)
    tiny = tiny_clip().name

    def load(name: str, **keys: object) -> Reward:
        return loader().load(RewardConfig(name, **keys))  # type: ignore[arg-type]

    def axis(name: str) -> Reward:
        return load(f"axis:{name}", data_dir=str(folder), encoder=tiny)

    builtin = load("aesthetic")
    hps = loader_of_tiny_hps()
    mixture = RewardConfig(
        "mixture",
        parts=(
            PartConfig(RewardConfig("colourfulness"), 2.0, "standardised", mean=40.0, std=20.0),
            PartConfig(RewardConfig("jpeg"), 0.001, "raw"),
            PartConfig(RewardConfig("agreement"), 0.001, "raw"),
        ),
    )
    return {
        "aesthetic": Case(builtin, *sorted_by_hand(liked(), other())),
        "aesthetic head": Case(
            load("aesthetic", encoder=tiny, head=str(head_file(folder))), liked(), other()
        ),
        "agreement": Case(load("agreement", encoder=f"open_clip:{HPS_MODEL}@{tiny_hps()}"), liked(), other()),
        "pickscore": Case(load("pickscore", weights=str(tiny_pickscore())), liked(), other()),
        "hpsv2.1": Case(hps, liked(), other()),
        "jpeg": Case(load("jpeg"), FLAT, DETAIL),
        "jpeg-incompressible": Case(load("jpeg-incompressible"), DETAIL, FLAT),
        "colourfulness": Case(load("colourfulness"), VIVID, FLAT),
        "linear axis": Case(axis("like"), liked(), other()),
        "head axis": Case(axis("head"), liked(), other()),
        "measured axis": Case(axis("colour"), VIVID, FLAT),
        "remote": Case(load(f"remote:{server.url('well')}", batch=2), VIVID, np.zeros_like(VIVID)),
        "mixture": Case(load("mixture", parts=mixture.parts), VIVID, FLAT),
    }


NAMES = (
    *("aesthetic", "aesthetic head", "agreement", "pickscore", "hpsv2.1", "jpeg", "jpeg-incompressible"),
    *("colourfulness", "linear axis", "head axis", "measured axis", "remote", "mixture"),
)


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest, cases: dict[str, Case]) -> Case:
    return cases[request.param]


def test_one_finite_number_a_picture(case: Case) -> None:
    score_N = case.reward.score(pictures(), PROMPTS)
    assert score_N.shape == (len(pictures()),)
    assert score_N.dtype == np.float64
    assert np.isfinite(score_N).all()


def test_the_better_picture_scores_higher(case: Case) -> None:
    better, worse = case.reward.score([case.better, case.worse], [PROMPT, PROMPT])
    assert better > worse


def test_the_same_question_twice_has_the_same_answer_to_the_bit(case: Case) -> None:
    first_N = case.reward.score(pictures(), PROMPTS)
    case.reward.score([FLAT], ["something else"])  # nothing is left of the first question
    assert np.array_equal(first_N, case.reward.score(pictures(), PROMPTS))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=5, deadline=None)
@given(order=st.lists(st.integers(0, len(PROMPTS) - 1), min_size=1, max_size=6))
def test_a_picture_does_not_depend_on_its_batch(name: str, order: list[int], cases: dict[str, Case]) -> None:
    """In any order, twice in a batch, alone: the score is the same."""
    reward = cases[name].reward
    alone_N = np.concatenate(
        [reward.score([picture], [prompt]) for picture, prompt in zip(pictures(), PROMPTS, strict=True)]
    )
    together_N = reward.score([pictures()[i] for i in order], [PROMPTS[i] for i in order])
    np.testing.assert_allclose(together_N, alone_N[order], atol=ROUNDING, rtol=ROUNDING)


def test_pictures_and_prompts_come_in_pairs(case: Case) -> None:
    with pytest.raises(InvalidInputError, match="2 pictures came with 1 prompts"):
        case.reward.score([FLAT, FLAT], [PROMPT])


def test_what_is_no_picture_is_refused(case: Case) -> None:
    with pytest.raises(InvalidInputError, match=r"float32 \[4, 4, 3\]: expected uint8"):
        case.reward.score([np.zeros((4, 4, 3), np.float32)], [PROMPT])


def test_no_pictures_no_scores(case: Case) -> None:
    assert case.reward.score([], []).shape == (0,)


def test_the_prompt_counts_where_the_card_says_so(case: Case) -> None:
    first_N, second_N = (
        case.reward.score(pictures(), [prompt] * 5) for prompt in (PROMPT, "a green hill in may")
    )
    assert np.array_equal(first_N, second_N) is not case.reward.card.needs_prompt


def test_the_card_says_what_it_is(case: Case) -> None:
    card = case.reward.card
    assert card.name
    assert card.licence
    assert card.source
    assert card.weakness
    assert card.low < card.high


def test_every_kind_of_reward_is_held_to_the_law(cases: dict[str, Case]) -> None:
    kinds = {kind_of(case.reward.card.name)[0].card.name for case in cases.values()}
    assert kinds == {card.name for card in CARDS}


def sorted_by_hand(first: Picture, second: Picture) -> tuple[Picture, Picture]:
    """By the plain inner product with the shipped axis, the larger one first."""
    encoder = load_encoder("builtin", threads=1)
    one, two = encoder.encode_images([first, second]) @ encoder.axes()["aesthetics"].direction_D
    return (first, second) if one > two else (second, first)


def loader_of_tiny_hps() -> Reward:
    """As the registry loads it, but for the name of the architecture."""
    kind, _ = kind_of("hpsv2.1")
    return CheckedReward(load_hps(str(tiny_hps()), kind.card, device="cpu", architecture=HPS_MODEL))
