"""The rank axes that come with a builtin encoder.

    aesthetics       pictures against harmed copies of themselves: technical quality
    recency_visual   pictures against copies that look like old prints
    age              emoji of people

Dimension key   N pictures, K kinds of harm, D vector
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from numpy.random import Generator

from indexer.sources.captioned import Captioned
from training.encoder.spoil import KINDS, Pixels, age_photo, harmed
from training.encoder.views import CHUNK, read_pixels

RIDGE = 1.0
DRAWINGS, PHOTOGRAPHS = 500, 1500  # of each, that the first two axes are fitted on
AGES = ((0, ("baby",)), (1, ("child", "boy", "girl")), (3, ("older person", "older man", "older woman")))

Embed = Callable[[list[Pixels]], Float32[ndarray, "n d"]]
Spoil = Callable[[Pixels, Generator], Pixels]


@dataclass(frozen=True, slots=True)
class FittedAxis:
    """`right`: shares, 0 to 1, of held-out pairs in the right order, by what is shown and what differs."""

    direction_D: Float32[ndarray, " d"]
    how: str
    right: Mapping[str, Mapping[str, float]]

    @property
    def card(self) -> str:
        shares = [
            f"{of} ({', '.join(f'{what} {share:.0%}' for what, share in by_what.items())})"
            for of, by_what in self.right.items()
        ]
        return f"{self.how} Held-out pairs ordered rightly: {', '.join(shares)}."


def fit_axes(
    pictures: Sequence[Captioned], held: Mapping[str, Sequence[Captioned]], embed: Embed, seed: int
) -> dict[str, FittedAxis]:
    """`aesthetics` and `recency_visual`, fitted on `pictures` and their copies, judged on those of `held`."""
    what = " and ".join(held)
    axes = {}
    for name, copies, how in (
        (
            "aesthetics",
            {kind: _harm(kind) for kind in KINDS},
            f"Technical quality: fitted to tell {what} from blurred, noisy, over-compressed, dark or "
            "low-resolution copies of themselves. It knows nothing of beauty, composition or subject, and "
            "sees no harm that shrinking to 260 pixels hides.",
        ),
        (
            "recency_visual",
            {"faded": age_photo},
            f"Fitted to tell {what} from copies that were faded, toned, bleached of colour and grained like "
            "old prints. It knows the look of old prints, not the things that are in them.",
        ),
    ):
        direction_D = between(np.concatenate(list(differences(pictures, copies, embed, seed).values())))
        right = {
            of: {
                kind: float(np.mean(difference_ND @ direction_D > 0))
                for kind, difference_ND in differences(shown, copies, embed, seed + 1).items()
            }
            for of, shown in held.items()
        }
        axes[name] = FittedAxis(direction_D, how, right)
    return axes


def differences(
    pictures: Sequence[Captioned], copies: Mapping[str, Spoil], embed: Embed, seed: int
) -> dict[str, Float32[ndarray, "n d"]]:
    """Each picture less its spoilt copy, for each kind of copy, so that what the pictures show cancels."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[Float32[ndarray, "n d"]]] = {name: [] for name in copies}
    for start in range(0, len(pictures), CHUNK):
        pixels = read_pixels(pictures[start : start + CHUNK])
        clean_ND = embed(pixels)
        for name, spoil in copies.items():
            found[name].append(clean_ND - embed([spoil(picture, rng) for picture in pixels]))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def between(difference_ND: Float32[ndarray, "n d"]) -> Float32[ndarray, " d"]:
    """The unit direction of ridge regression of 1 on the differences of pairs, the better picture first."""
    given_ND = difference_ND.astype(np.float64)
    gram_DD = given_ND.T @ given_ND + RIDGE * np.eye(given_ND.shape[1])
    direction_D = np.linalg.solve(gram_DD, given_ND.sum(axis=0))
    return np.asarray(direction_D / np.linalg.norm(direction_D), np.float32)


def fit_age(emoji: Sequence[Captioned], embed: Embed) -> FittedAxis:
    """From the emoji whose first name is that of somebody of an age; each is held out in turn."""
    labelled = [(one, age) for one in emoji if (age := _age(one.captions[0])) is not None]
    vector_ND = embed(read_pixels([one for one, _ in labelled])).astype(np.float64)
    age_N = np.array([age for _, age in labelled], np.float64)

    def direction(keep: ndarray) -> ndarray:
        x_ND = vector_ND[keep] - vector_ND[keep].mean(axis=0)
        y_N = age_N[keep] - age_N[keep].mean()
        return x_ND.T @ np.linalg.solve(x_ND @ x_ND.T + 0.1 * np.eye(len(y_N)), y_N)

    everyone = np.arange(len(age_N))
    right = pairs = 0
    for i in everyone:
        score_N = vector_ND @ direction(everyone[everyone != i])
        others = np.flatnonzero(age_N != age_N[i])
        right += int(np.sum((score_N[others] < score_N[i]) == (age_N[others] < age_N[i])))
        pairs += len(others)
    v_D = direction(everyone)
    how = (
        f"Weak: fitted on {len(age_N)} emoji of babies, children, adults and old people. On photographs, "
        "teach this axis with example pictures instead."
    )
    direction_D = np.asarray(v_D / np.linalg.norm(v_D), np.float32)
    return FittedAxis(direction_D, how, {"emoji": {"age": right / max(pairs, 1)}})


def _harm(kind: str) -> Spoil:
    return lambda picture, rng: harmed(picture, kind, rng)


def _age(caption: str) -> int | None:
    found = next((age for age, names in AGES if caption in names), None)
    return 2 if found is None and caption in ("man", "woman", "adult", "person") else found
