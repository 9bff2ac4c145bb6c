"""The learned part of a builtin encoder, but for its axes: a head, and the principal axes of the features.

Dimension key   N pictures, V views of each, Q captions, C classes, F features, H head input,
                T text, P axes
"""

import importlib.util
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from indexer.encoders.builtin import TEXT_DIM, VISUAL_DIM, Head, SentenceModel, unit
from indexer.errors import UnavailableError
from training.encoder.recipe import Recipe
from training.encoder.views import Seen

GLOSS_COPIES = 3


def class_meanings(sentences: SentenceModel) -> tuple[Float32[ndarray, "c t"], list[str]]:
    """E: for each ImageNet class the direction of its name, its lemmas and its WordNet gloss."""
    synsets, lemmas_of, gloss_of = _word_net()
    rows: list[Float32[ndarray, " t"]] = []
    texts: list[str] = []
    for synset in synsets:
        lemmas = [part.strip() for part in lemmas_of[synset].split(",")]
        gloss = f"{lemmas[0]}: {gloss_of[synset]}"
        own = [*lemmas, f"a photo of a {lemmas[0]}", *[gloss] * GLOSS_COPIES]
        rows.append(sentences.run(own).mean(axis=0))
        texts.extend(dict.fromkeys(own))
    return unit(np.stack(rows)), texts


def _word_net() -> tuple[list[str], dict[str, str], dict[str, str]]:
    """Synsets in class order, their lemmas and glosses: tables that timm ships.

    Read, not imported: timm needs torchvision, which has no build for the CPU-only torch.
    """
    spec = importlib.util.find_spec("timm")
    if spec is None or spec.origin is None:
        raise UnavailableError("the recipe needs timm: pip install 'kallos[encoder-recipe]'")
    folder = Path(spec.origin).parent / "data" / "_info"

    def table(name: str) -> dict[str, str]:
        lines = (folder / name).read_text("utf-8").splitlines()
        return {key: value for key, _, value in (line.partition("\t") for line in lines)}

    synsets = (folder / "imagenet_synsets.txt").read_text().split()
    return synsets, table("imagenet_synset_to_lemma.txt"), table("imagenet_synset_to_definition.txt")


def learn_head(
    drawings: Seen, photographs: Seen | None, sentences: SentenceModel, recipe: Recipe, *, seed: int
) -> Head:
    """All that is learned from captioned pictures; the same seed gives the same head."""
    from training.encoder.layers import Examples, fit_layers

    n_views = 1 + recipe.n_crops
    seen = drawings.views(n_views)
    if photographs is not None:
        seen = seen.beside(photographs.views(n_views))
    meaning_CT, class_texts = class_meanings(sentences)
    captions = [caption for own in seen.captions for caption in own]
    picture_Q = np.array([i for i, own in enumerate(seen.captions) for _ in own])
    sentence_QT = sentences.run(captions)
    whole_NF = np.sqrt(np.maximum(seen.feature_NVF[:, 0], 0))
    _, _, visual_PF = np.linalg.svd(whole_NF - whole_NF.mean(axis=0), full_matrices=False)
    n_inputs = whole_NF.shape[1] + TEXT_DIM
    blank = Head(
        meaning_CT=meaning_CT,
        text_mean_T=np.concatenate([sentence_QT, sentences.run(class_texts)]).mean(axis=0),
        input_mean_H=np.zeros(n_inputs, np.float32),
        input_scale_H=np.ones(n_inputs, np.float32),
        weight_TH=np.zeros((TEXT_DIM, n_inputs), np.float32),
        bias_T=np.zeros(TEXT_DIM, np.float32),
        visual_mean_F=whole_NF.mean(axis=0),
        visual_PF=visual_PF[:VISUAL_DIM],
        hidden_KH=np.zeros((0, n_inputs), np.float32),
        hidden_bias_K=np.zeros(0, np.float32),
        output_TK=np.zeros((TEXT_DIM, 0), np.float32),
        meaning_weight=np.array(recipe.meaning_weight, np.float32),
    )
    n = len(seen.captions)
    meaning = blank.meaning(seen.logit_NVC.reshape(n * n_views, -1))
    given = blank.inputs(seen.feature_NVF.reshape(n * n_views, -1), meaning)
    mean_H, scale_H = given.mean(axis=0), given.std(axis=0) + 1e-3
    examples = Examples(
        input_NVH=((given - mean_H) / scale_H).reshape(n, n_views, -1),
        meaning_NVT=meaning.reshape(n, n_views, -1),
        is_photograph_N=np.arange(n) >= len(drawings.captions),
        text_QT=blank.texts(sentence_QT)[:, :TEXT_DIM],
        picture_Q=picture_Q,
    )
    fitted = fit_layers(examples, recipe, seed=seed)
    return replace(blank, input_mean_H=mean_H, input_scale_H=scale_H, **asdict(fitted))
