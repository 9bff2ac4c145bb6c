"""The learned part of the builtin encoder: a linear head, principal axes, and three rank axes.

Dimension key   N pictures, Q captions, C classes, F features, H head input, T text, P axes, D vector
"""

import importlib.util
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray
from safetensors.numpy import save_file

from indexer.encoders.builtin import (
    TEXT_DIM,
    VISUAL_DIM,
    Backbone,
    BuiltinEncoder,
    Head,
    SentenceModel,
    unit,
)
from indexer.errors import UnavailableError
from indexer.imaging.decode import Limits, decode
from training.encoder.materials import Captioned
from training.encoder.spoil import Pixels, age_photo, degrade

STEPS, BATCH, PEAK_RATE, WEIGHT_DECAY, DROPOUT, SCALE = 300, 384, 3e-3, 0.3, 0.5, 20.0
SAME_TEXT = 0.85  # captions closer than this are not told apart
GLOSS_COPIES = 3
RIDGE = 1.0
AXIS_PICTURES = 500


def read_pixels(drawings: Sequence[Captioned]) -> list[Pixels]:
    limits = Limits.from_memory()
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda drawing: decode(drawing.path.read_bytes(), limits).pixels, drawings))


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


@dataclass(frozen=True, slots=True)
class Seen:
    """Captioned pictures as the backbone sees them."""

    feature_NF: Float32[ndarray, "n f"]
    logit_NC: Float32[ndarray, "n c"]
    captions: Sequence[Sequence[str]]


def learn_head(seen: Seen, sentences: SentenceModel, *, seed: int) -> Head:
    """Everything of the encoder that is learned from captioned pictures."""
    meaning_CT, class_texts = class_meanings(sentences)
    captions = [caption for own in seen.captions for caption in own]
    picture_Q = np.array([i for i, own in enumerate(seen.captions) for _ in own])
    sentence_QT = sentences.run(captions)
    root_NF = np.sqrt(np.maximum(seen.feature_NF, 0))
    _, _, visual_PF = np.linalg.svd(root_NF - root_NF.mean(axis=0), full_matrices=False)
    n_inputs = seen.feature_NF.shape[1] + TEXT_DIM
    blank = Head(
        meaning_CT=meaning_CT,
        text_mean_T=np.concatenate([sentence_QT, sentences.run(class_texts)]).mean(axis=0),
        input_mean_H=np.zeros(n_inputs, np.float32),
        input_scale_H=np.ones(n_inputs, np.float32),
        weight_TH=np.zeros((TEXT_DIM, n_inputs), np.float32),
        bias_T=np.zeros(TEXT_DIM, np.float32),
        visual_mean_F=root_NF.mean(axis=0),
        visual_PF=visual_PF[:VISUAL_DIM],
    )
    meaning_NT = blank.meaning(seen.logit_NC)
    input_NH = blank.inputs(seen.feature_NF, meaning_NT)
    mean_H, scale_H = input_NH.mean(axis=0), input_NH.std(axis=0) + 1e-3
    text_QT = blank.texts(sentence_QT)[:, :TEXT_DIM]
    weight_TH, bias_T = _fit_head((input_NH - mean_H) / scale_H, meaning_NT, text_QT, picture_Q, seed)
    return replace(blank, input_mean_H=mean_H, input_scale_H=scale_H, weight_TH=weight_TH, bias_T=bias_T)


def fit(drawings: Sequence[Captioned], folder: Path, *, seed: int = 0) -> dict[str, float]:
    """Write head.safetensors beside the backbone and the tokenizer in `folder`; return held-out figures."""
    backbone, encoder = Backbone(folder, None), BuiltinEncoder(folder=folder)
    pixels = read_pixels(drawings)
    seen = look(encoder, backbone, pixels, [drawing.captions for drawing in drawings])
    head = learn_head(seen, SentenceModel(folder, None), seed=seed)
    tensors = {name: getattr(head, name) for name in Head.__slots__}
    embed = _embedder(encoder, backbone, head)
    cards, figures = {}, {}
    for name, (direction_D, accuracy, how) in fit_axes(drawings, pixels, embed, seed).items():
        tensors[f"axis.{name}"] = direction_D
        cards[name] = f"{how} Held-out pairs ordered rightly: {accuracy:.0%}."
        figures[f"axis.{name}"] = accuracy
    arrays = {name: np.ascontiguousarray(tensor, np.float32) for name, tensor in tensors.items()}
    save_file(arrays, folder / "head.safetensors", {"axes": json.dumps(cards)})
    return figures


def look(
    encoder: BuiltinEncoder, backbone: Backbone, pixels: Sequence[Pixels], captions: Sequence[Sequence[str]]
) -> Seen:
    return Seen(*backbone.run([encoder.prepare(picture) for picture in pixels]), captions)


def _embedder(encoder: BuiltinEncoder, backbone: Backbone, head: Head) -> Callable[[list[Pixels]], ndarray]:
    return lambda pictures: head.images(*backbone.run([encoder.prepare(picture) for picture in pictures]))


def _fit_head(
    input_NH: Float32[ndarray, "n h"],
    meaning_NT: Float32[ndarray, "n t"],
    text_QT: Float32[ndarray, "q t"],
    picture_Q: Int64[ndarray, " q"],
    seed: int,
) -> tuple[Float32[ndarray, "t h"], Float32[ndarray, " t"]]:
    """W and bias by the symmetric contrastive loss of CLIP (Radford et al. 2021), starting from v = b."""
    import torch
    import torch.nn.functional as nn

    torch.manual_seed(seed)
    given_NH, base_NT, text = (torch.from_numpy(a) for a in (input_NH, meaning_NT, text_QT))
    of_picture = [np.flatnonzero(picture_Q == i) for i in range(len(input_NH))]
    rng = np.random.default_rng(seed)
    layer = torch.nn.Linear(input_NH.shape[1], TEXT_DIM)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=STEPS)
    diagonal = torch.eye(BATCH, dtype=torch.bool)
    for _ in range(STEPS):
        chosen = rng.choice(len(input_NH), BATCH, replace=False)
        said = torch.from_numpy(np.array([rng.choice(of_picture[i]) for i in chosen]))
        rows = torch.from_numpy(chosen)
        image_BT = nn.normalize(layer(nn.dropout(given_NH[rows], DROPOUT)) + base_NT[rows], dim=1)
        text_BT = text[said]
        logit_BB = SCALE * image_BT @ text_BT.T
        same_BB = (text_BT @ text_BT.T > SAME_TEXT) & ~diagonal
        logit_BB = logit_BB.masked_fill(same_BB, -1e4)
        target = torch.arange(BATCH)
        loss = (nn.cross_entropy(logit_BB, target) + nn.cross_entropy(logit_BB.T, target)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()


def fit_axes(
    drawings: Sequence[Captioned],
    pixels: Sequence[Pixels],
    embed: Callable[[list[Pixels]], Float32[ndarray, "n d"]],
    seed: int,
) -> dict[str, tuple[Float32[ndarray, " d"], float, str]]:
    """Direction, held-out pair accuracy, and how it was made."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(pixels), AXIS_PICTURES, replace=False)
    clean = [pixels[i] for i in chosen]
    clean_ND = embed(clean)
    axes = {}
    for name, spoil, how in (
        (
            "aesthetics",
            degrade,
            "Technical quality: fitted to tell drawings from blurred, noisy, over-compressed or dark "
            "copies of themselves. It knows nothing of composition or subject.",
        ),
        (
            "recency_visual",
            age_photo,
            "Fitted to tell pictures from copies that were faded, toned, bleached of colour and grained like "
            "old prints. It knows the look of old prints, not the things that are in them.",
        ),
    ):
        spoilt_ND = embed([spoil(picture, rng) for picture in clean])
        axes[name] = (*_paired(clean_ND, spoilt_ND), how)
    axes["age"] = _age(drawings, pixels, embed)
    return axes


def _paired(
    high_ND: Float32[ndarray, "n d"], low_ND: Float32[ndarray, "n d"]
) -> tuple[Float32[ndarray, " d"], float]:
    """Ridge on the differences, so that what the pictures show cancels; the last fifth is held out."""
    difference_ND = high_ND - low_ND
    cut = len(difference_ND) * 4 // 5
    seen_ND = difference_ND[:cut].astype(np.float64)
    gram_DD = seen_ND.T @ seen_ND + RIDGE * np.eye(seen_ND.shape[1])
    direction_D = np.linalg.solve(gram_DD, seen_ND.sum(axis=0))
    direction_D = (direction_D / np.linalg.norm(direction_D)).astype(np.float32)
    return direction_D, float(np.mean(difference_ND[cut:] @ direction_D > 0))


AGES = ((0, ("baby",)), (1, ("child", "boy", "girl")), (3, ("older person", "older man", "older woman")))


def _age(
    drawings: Sequence[Captioned],
    pixels: Sequence[Pixels],
    embed: Callable[[list[Pixels]], Float32[ndarray, "n d"]],
) -> tuple[Float32[ndarray, " d"], float, str]:
    def level(caption: str) -> int | None:
        found = next((age for age, names in AGES if caption in names), None)
        return 2 if found is None and caption in ("man", "woman", "adult", "person") else found

    labelled = [(i, age) for i, d in enumerate(drawings) if (age := level(d.captions[0])) is not None]
    vector_ND = embed([pixels[i] for i, _ in labelled]).astype(np.float64)
    age_N = np.array([age for _, age in labelled], np.float64)

    def direction(keep: ndarray) -> ndarray:
        x_ND = vector_ND[keep] - vector_ND[keep].mean(axis=0)
        y_N = age_N[keep] - age_N[keep].mean()
        return x_ND.T @ np.linalg.solve(x_ND @ x_ND.T + 0.1 * np.eye(len(y_N)), y_N)

    everyone = np.arange(len(age_N))
    right = pairs = 0
    for i in everyone:  # leave one out: there are few
        score_N = vector_ND @ direction(everyone[everyone != i])
        others = np.flatnonzero(age_N != age_N[i])
        right += int(np.sum((score_N[others] < score_N[i]) == (age_N[others] < age_N[i])))
        pairs += len(others)
    v_D = direction(everyone)
    how = (
        f"Weak: fitted on {len(age_N)} emoji of babies, children, adults and old people. On photographs, "
        "teach this axis with example pictures instead."
    )
    return (v_D / np.linalg.norm(v_D)).astype(np.float32), right / max(pairs, 1), how
