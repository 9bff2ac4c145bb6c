"""A match model as a file: safetensors, the phrases' vectors as a tensor and the rest as JSON beside them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from indexer.disk.files import writing
from indexer.errors import CorruptStoreError
from rerank.match.evidence import FEATURES, BackgroundQueries
from rerank.match.logistic import Logistic
from rerank.match.model import FromBackground, FromCaptions, Gumbel, MatchModel
from rerank.match.phrases import PHRASES

FORMAT = 1
FORMER_NAMES = {"h": "cross_query_z", "lead": "margin"}  # of features, in files of 0.1


def save_model(path: Path, model: MatchModel, about: dict[str, Any]) -> None:
    """Whole or not at all; not fsynced: a lost model is learned again.

    Raises StoreError: it cannot be written.
    """
    document = about | {
        "format": FORMAT,
        "features": FEATURES,
        "phrases": len(PHRASES),
        "learned_from": model.learned_from,
        "near": model.background.near,
        "rule": _rule_json(model.rule),
    }
    beside = path.with_name(path.name + ".part")
    with writing(path, beside=beside):
        metadata = {"match": json.dumps(document)}
        beside.write_bytes(save({"bank": model.background.vectors_BD}, metadata=metadata))
        beside.replace(path)


def load_model(path: Path) -> tuple[MatchModel, dict[str, Any]]:
    """The model, and what was said about it.

    Raises:
        CorruptStoreError: It is not such a file, or one of another version.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            document = json.loads((file.metadata() or {})["match"])
            vectors_BD = file.get_tensor("bank")
        _check(document, len(vectors_BD))
        background = BackgroundQueries(vectors_BD, float(document["near"]))
        return MatchModel(background, _rule(document["rule"]), int(document["learned_from"])), document
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CorruptStoreError(f"{path} is not a match model of this version: {error!r:.200}") from error


def _check(document: dict[str, Any], phrases: int) -> None:
    features = tuple(FORMER_NAMES.get(name, name) for name in document["features"])
    if document["format"] != FORMAT or features != FEATURES or phrases != len(PHRASES):
        raise ValueError("made by another version")


def _rule_json(rule: FromCaptions | FromBackground) -> dict[str, Any]:
    if isinstance(rule, FromBackground):
        return {"tails": [[tail.mode, tail.scale] for tail in rule.tails]}
    logistic = rule.logistic
    return {
        "centre": logistic.centre_F.tolist(),
        "scale": logistic.scale_F.tolist(),
        "weight": logistic.weight_F.tolist(),
        "bias": logistic.bias,
        "missed": rule.missed,
    }


def _rule(stored: dict[str, Any]) -> FromCaptions | FromBackground:
    if "tails" in stored:
        return FromBackground(tuple(Gumbel(float(mode), float(scale)) for mode, scale in stored["tails"]))
    centre_F, scale_F, weight_F = (np.array(stored[name], float) for name in ("centre", "scale", "weight"))
    return FromCaptions(Logistic(centre_F, scale_F, weight_F, float(stored["bias"])), float(stored["missed"]))
