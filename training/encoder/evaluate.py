"""Does the recipe reproduce? Train with a part of some captioned pictures, test on the rest of them.

The shipped head never saw Tux Paint's stamps, whose licence is the GPL. This check trains heads that did, the
way the recipe was first measured, measures them, and throws them away.

Dimension key   N pictures, Q captions
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from indexer.encoders.builtin import TEXT_DIM, Backbone, BuiltinEncoder, Head, SentenceModel
from indexer.errors import InvalidInputError
from rerank.retrieval import Recall, recall
from training.encoder.fit import Seen, learn_head, look, read_pixels
from training.encoder.materials import Captioned

HELD_OUT = 380  # pictures, as when the recipe was first measured


def evaluate(
    drawings: Sequence[Captioned], stamps: Sequence[Captioned], folder: Path, seeds: Sequence[int]
) -> dict[str, Recall]:
    """Recall on HELD_OUT stamps, the mean over `seeds`, each with its own split.

    Pictures with one caption stay on one side of the split. `class names` is the encoder without its head,
    `without stamps` the recipe of the shipped head, `with stamps` the same with the other stamps in training.
    """
    if len(stamps) <= HELD_OUT:
        raise InvalidInputError(f"{len(stamps)} captioned pictures: expected more than {HELD_OUT}")
    backbone, encoder, sentences = (
        Backbone(folder, None),
        BuiltinEncoder(folder=folder),
        SentenceModel(folder, None),
    )
    known = look(encoder, backbone, read_pixels(drawings), [drawing.captions for drawing in drawings])
    extra = look(encoder, backbone, read_pixels(stamps), [stamp.captions[:1] for stamp in stamps])
    found: dict[str, list[Recall]] = {}
    for seed in seeds:
        train_N, test_N = _split(extra, seed)
        plain = learn_head(known, sentences, seed=seed)
        joined = Seen(
            np.concatenate([known.feature_NF, extra.feature_NF[train_N]]),
            np.concatenate([known.logit_NC, extra.logit_NC[train_N]]),
            [*known.captions, *(extra.captions[i] for i in train_N)],
        )
        for name, recalled in (
            ("class names", _recall(plain, extra, test_N, sentences, use_head=False)),
            ("without stamps", _recall(plain, extra, test_N, sentences)),
            ("with stamps", _recall(learn_head(joined, sentences, seed=seed), extra, test_N, sentences)),
        ):
            found.setdefault(name, []).append(recalled)
    return {name: _mean(rows) for name, rows in found.items()}


def _split(seen: Seen, seed: int) -> tuple[list[int], list[int]]:
    captions = sorted({own[0] for own in seen.captions})
    order = np.random.default_rng(seed).permutation(len(captions))
    place = {captions[j]: i for i, j in enumerate(order)}
    by_caption = sorted(range(len(seen.captions)), key=lambda i: (place[seen.captions[i][0]], i))
    return by_caption[HELD_OUT:], by_caption[:HELD_OUT]


def _recall(
    head: Head, seen: Seen, test_N: Sequence[int], sentences: SentenceModel, *, use_head: bool = True
) -> Recall:
    captions = [seen.captions[i][0] for i in test_N]
    logit_NC = seen.logit_NC[test_N]
    if use_head:
        image_NT = head.images(seen.feature_NF[test_N], logit_NC)[:, :TEXT_DIM]
    else:
        image_NT = head.meaning(logit_NC)
    text_QT = head.texts(sentences.run(captions))[:, :TEXT_DIM]
    return recall(text_QT @ image_NT.T, captions, captions)


def _mean(rows: Sequence[Recall]) -> Recall:
    columns = {name: [asdict(row)[name] for row in rows] for name in asdict(rows[0])}
    shares = {name: float(np.mean(columns[name])) for name in ("at_1", "at_5", "at_10", "median_rank")}
    return Recall(rows[0].queries, rows[0].pictures, **shares)
