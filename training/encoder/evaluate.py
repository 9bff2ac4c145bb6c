"""Do the recipes reproduce? Train heads, test them on pictures that they never saw, throw them away.

The shipped heads never saw Tux Paint's stamps, whose licence is the GPL; `with_stamps` trains heads that did,
the way the first recipe was first measured.

Dimension key   N pictures, Q captions
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from indexer.encoders.builtin import TEXT_DIM, Backbone, BuiltinEncoder, Head, SentenceModel
from indexer.errors import InvalidInputError
from indexer.sources.captioned import Captioned
from rerank.retrieval import Recall, recall
from training.encoder.fit import learn_head
from training.encoder.recipe import BUILTIN_1, BUILTIN_2
from training.encoder.views import Seen, look

HELD_OUT = 380  # stamps, as when the first recipe was first measured


class Trial:
    """Looks with one backbone; what it looked at is judged by heads of any recipe."""

    def __init__(self, folder: Path) -> None:
        self._backbone, self._encoder = Backbone(folder, None), BuiltinEncoder(folder=folder)
        self.sentences = SentenceModel(folder, None)

    def look(self, pictures: Sequence[Captioned], n_crops: int = 0) -> Seen:
        return look(self._encoder, self._backbone, pictures, n_crops=n_crops)

    def recall(self, head: Head, seen: Seen, *, use_head: bool = True) -> Recall:
        """Of the first caption of each picture among all that were `seen`, in their whole view."""
        captions = [own[0] for own in seen.captions]
        feature_NF, logit_NC = seen.feature_NVF[:, 0], seen.logit_NVC[:, 0]
        image_NT = head.images(feature_NF, logit_NC)[:, :TEXT_DIM] if use_head else head.meaning(logit_NC)
        image_NT = image_NT / np.linalg.norm(image_NT, axis=1, keepdims=True)
        text_QT = head.texts(self.sentences.run(captions))[:, :TEXT_DIM]
        return recall(text_QT @ image_NT.T, captions, captions)


def with_photographs(
    drawings: Sequence[Captioned],
    photographs: Sequence[Captioned],
    tested: Mapping[str, Sequence[Captioned]],
    folder: Path,
    seeds: Sequence[int],
) -> dict[str, Recall]:
    """Recall of both recipes on each set of `tested`, the mean over `seeds`; rows are `SET: HEAD`.

    `photographs` are what is trained on; nothing of `tested` may be among them.
    """
    trial = Trial(folder)
    drawn, photographed = trial.look(drawings), trial.look(photographs, BUILTIN_2.n_crops)
    sets = {name: trial.look(pictures) for name, pictures in tested.items()}
    found: dict[str, list[Recall]] = {}
    for seed in seeds:
        for name, recipe, shown in (
            ("builtin-1", BUILTIN_1, None),
            ("builtin-1 with photographs", BUILTIN_1, photographed),
            ("builtin-2", BUILTIN_2, photographed),
        ):
            head = learn_head(drawn, shown, trial.sentences, recipe, seed=seed)
            for of, pictures in sets.items():
                found.setdefault(f"{of}: {name}", []).append(trial.recall(head, pictures))
    return {name: _mean(found[name]) for name in sorted(found)}


def with_stamps(
    drawings: Sequence[Captioned], stamps: Sequence[Captioned], folder: Path, seeds: Sequence[int]
) -> dict[str, Recall]:
    """Recall of builtin-1's recipe on HELD_OUT stamps, the mean over `seeds`, each with its own split.

    Pictures with one caption stay on one side of the split. `class names` is the encoder without its head,
    `without stamps` the recipe of the shipped head, `with stamps` the same with the other stamps in training.
    """
    if len(stamps) <= HELD_OUT:
        raise InvalidInputError(f"{len(stamps)} captioned pictures: expected more than {HELD_OUT}")
    trial = Trial(folder)
    known = trial.look(drawings)
    looked = trial.look(stamps)
    extra = Seen(looked.feature_NVF, looked.logit_NVC, [own[:1] for own in looked.captions])
    found: dict[str, list[Recall]] = {}
    for seed in seeds:
        train_N, test_N = _split(extra, seed)
        test = extra.take(test_N)
        plain = learn_head(known, None, trial.sentences, BUILTIN_1, seed=seed)
        joined = learn_head(known, extra.take(train_N), trial.sentences, BUILTIN_1, seed=seed)
        for name, recalled in (
            ("class names", trial.recall(plain, test, use_head=False)),
            ("without stamps", trial.recall(plain, test)),
            ("with stamps", trial.recall(joined, test)),
        ):
            found.setdefault(name, []).append(recalled)
    return {name: _mean(rows) for name, rows in found.items()}


def _split(seen: Seen, seed: int) -> tuple[list[int], list[int]]:
    captions = sorted({own[0] for own in seen.captions})
    order = np.random.default_rng(seed).permutation(len(captions))
    place = {captions[j]: i for i, j in enumerate(order)}
    by_caption = sorted(range(len(seen.captions)), key=lambda i: (place[seen.captions[i][0]], i))
    return by_caption[HELD_OUT:], by_caption[:HELD_OUT]


def _mean(rows: Sequence[Recall]) -> Recall:
    columns = {name: [asdict(row)[name] for row in rows] for name in asdict(rows[0])}
    shares = {name: float(np.mean(columns[name])) for name in ("at_1", "at_5", "at_10", "median_rank")}
    return Recall(rows[0].queries, rows[0].pictures, **shares)
