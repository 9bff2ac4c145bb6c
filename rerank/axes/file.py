"""One axis as one file: a JSON document in the metadata of a safetensors file, and its weights.

metadata["kallos_axis"]    the document: everything of an `Axis` that is not an array
tensor "direction"         of a linear axis
tensors "head.layers.N.…"  of a head axis
tensor "used"              content keys of what it was fitted on: evaluation elsewhere leaves them out too
"""

import json
from dataclasses import asdict, replace
from typing import Any, get_args

import numpy as np
from numpy import ndarray

from indexer.encoders.tensor_files import Tensors, metadata_of, read_safetensors, write_safetensors
from indexer.errors import InvalidAxisError
from indexer.filters.language import field_name
from indexer.protocols import Encoder
from indexer.tables.axes import Axis, AxisKind, AxisStore, Figures, Trust
from rerank.axes.axis_values import check_model
from rerank.axes.direction import check_name
from rerank.axes.heads import Head

KEY = "kallos_axis"
VERSION = 1
MOST_CHARACTERS = 1_000_000  # of the document
NOT_UNIT = 1e-3
PLAIN = ("name", "kind", "method", "model_id", "field", "trust", "card", "inputs", "gain", "bias", "sign")


def export_axis(axis: Axis, store: AxisStore) -> bytes:
    """`axis` as a file. Its standardisation stays behind: that belongs to the collection."""
    document = {name: getattr(axis, name) for name in PLAIN}
    document["figures"] = None if axis.figures is None else asdict(axis.figures)
    tensors: dict[str, ndarray] = {"used": store.used(axis)}
    if axis.direction_D is not None:
        tensors["direction"] = axis.direction_D
    if axis.head is not None:
        head = Head.of(axis.head)
        document["activation"] = head.activation
        tensors |= {f"head.{name}": tensor for name, tensor in head.to_tensors().items()}
    text = json.dumps({"format": VERSION} | document, ensure_ascii=False)
    return write_safetensors(tensors, {KEY: text})


def import_axis(data: bytes, encoder: Encoder, *, name: str | None = None) -> Axis:
    """The axis in a file that `export_axis` wrote, under its own name or `name`; not stored yet.

    Raises:
        InvalidInputError, InvalidAxisError: Not such a file, or one that was damaged or tampered with.
        ModelMismatchError: The axis belongs to another model, and is not a field axis.
    """
    tensors = read_safetensors(data)
    text = metadata_of(data).get(KEY)
    if text is None or len(text) > MOST_CHARACTERS:
        raise InvalidAxisError(f"the file holds no axis: expected a document named {KEY!r} in its metadata")
    try:
        document = json.loads(text)
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()  # what cannot be stored again
        axis = _axis(document, tensors)
    except (KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
        raise InvalidAxisError(f"the document of the axis is damaged: {error!r:.200}") from error
    axis = replace(axis, name=check_name(axis.name if name is None else name))
    check_model(axis, encoder.model_id)
    _check(axis, encoder)
    return axis


def _axis(document: dict[str, Any], tensors: Tensors) -> Axis:
    """Raises KeyError, TypeError or ValueError where something is missing or of the wrong kind."""
    if document["format"] != VERSION:
        raise ValueError(f"format {document['format']!r}: expected {VERSION}")
    kind, figures, field = document["kind"], document["figures"], document["field"]
    if kind not in get_args(AxisKind) or document["trust"] not in get_args(Trust):
        raise ValueError(f"kind {kind!r}, trust {document['trust']!r}")
    if not isinstance(document["inputs"], dict) or (kind == "field") != isinstance(field, str):
        raise TypeError("inputs, or field")
    used_U = tensors["used"]
    if used_U.dtype != np.uint64 or used_U.ndim != 1:
        raise TypeError("used")
    head = {key.removeprefix("head."): tensor for key, tensor in tensors.items() if key.startswith("head.")}
    return Axis(
        name=str(document["name"]),
        kind=kind,
        method=str(document["method"]),
        model_id=str(document["model_id"]),
        card=str(document["card"]),
        sign=str(document["sign"]),
        trust=document["trust"],
        field=None if field is None else field_name(field),
        inputs=document["inputs"],
        gain=float(document["gain"]),
        bias=float(document["bias"]),
        figures=None if figures is None else _figures(figures),
        direction_D=np.asarray(tensors["direction"], np.float32) if kind == "linear" else None,
        head=Head.of_tensors(head, document["activation"]).to_bytes() if kind == "head" else None,
        used_U=used_U,
    )


def _figures(given: dict[str, Any]) -> Figures:
    numbers = ("training", "held_out", "low", "high", "maximum")
    return Figures(
        n_train=int(given["n_train"]),
        n_held_out=int(given["n_held_out"]),
        how=str(given["how"]),
        **{name: None if given[name] is None else float(given[name]) for name in numbers},
    )


def _check(axis: Axis, encoder: Encoder) -> None:
    """That the numbers fit this model."""
    if not np.isfinite([axis.gain, axis.bias]).all():
        raise InvalidAxisError(f"gain {axis.gain} and bias {axis.bias}: expected finite numbers")
    if axis.direction_D is not None:
        length = float(np.linalg.norm(axis.direction_D.astype(np.float64)))
        if axis.direction_D.shape != (encoder.dim,) or not abs(length - 1) < NOT_UNIT:
            raise InvalidAxisError(
                f"the direction has shape {axis.direction_D.shape} and length {length:.4g}: expected "
                f"{encoder.dim} numbers of length 1"
            )
    if axis.head is not None and (dim := Head.of(axis.head).dim) != encoder.dim:
        raise InvalidAxisError(f"the head takes {dim} numbers, {encoder.model_id} makes {encoder.dim}")
