"""A model small enough to be written anywhere: pictures through one matrix, texts as sums over their bytes.

It means nothing, and gives every machine the same vectors up to the rounding of float32.

Dimension key   D embedding, P numbers of a picture, V bytes, L context length
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

SIDE = 8  # of the picture that the matrix sees
CONTEXT = 48
OPSET = 17


def write_model(folder: Path, model_id: str, dim: int) -> str:
    """Write the model unless it is there; the name that `KALLOS_MODEL` takes."""
    if not (folder / "model.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(dim)
        matrix_PD = rng.standard_normal((3 * SIDE * SIDE, dim)).astype(np.float32)
        byte_VD = rng.standard_normal((257, dim)).astype(np.float32)
        byte_VD[0] = 0  # padding
        _write_graph(folder / "image.onnx", _image_nodes(), "pixels", TensorProto.UINT8, matrix_PD)
        _write_graph(folder / "text.onnx", _text_nodes(), "tokens", TensorProto.INT64, byte_VD)
        (folder / "tokenizer.json").write_text(_tokenizer().to_str())
        looks = {"height": SIDE, "width": SIDE, "mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
        (folder / "preprocess.json").write_text(json.dumps(looks))
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        about = {"format": 1, "model_id": model_id, "dim": dim, "licence": "Apache-2.0", "source": "a seed"}
        (folder / "model.json").write_text(json.dumps(about | {"cleaning": "lower", "files": files}))
    return f"onnx:{folder}"


def _image_nodes() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"]),
        helper.make_node("Sub", ["flat", "middle"], ["centred"]),
        helper.make_node("MatMul", ["centred", "weights"], ["raw"]),
        helper.make_node("LpNormalization", ["raw"], ["vectors"], axis=1, p=2),
    ]


def _text_nodes() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Gather", ["weights", "tokens"], ["bytes"], axis=0),
        helper.make_node("ReduceSum", ["bytes", "over"], ["raw"], keepdims=0),
        helper.make_node("LpNormalization", ["raw"], ["vectors"], axis=1, p=2),
    ]


def _write_graph(path: Path, nodes: list[onnx.NodeProto], takes: str, kind: int, weights: np.ndarray) -> None:
    shape = ["n", SIDE, SIDE, 3] if takes == "pixels" else ["n", CONTEXT]
    graph = helper.make_graph(
        nodes,
        takes,
        [helper.make_tensor_value_info(takes, kind, shape)],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", weights.shape[1]])],
        initializer=[
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.float32(127.5), "middle"),
            numpy_helper.from_array(np.array([1]), "over"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    path.write_bytes(model.SerializeToString())


def _tokenizer() -> Tokenizer:
    alphabet = sorted(ByteLevel.alphabet())
    vocabulary = {"": 0} | {letter: at for at, letter in enumerate(alphabet, start=1)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=""))
    tokenizer.pre_tokenizer = Sequence(
        [ByteLevel(add_prefix_space=False, use_regex=False), Split("", behavior="isolated")]
    )
    tokenizer.enable_truncation(CONTEXT)
    tokenizer.enable_padding(length=CONTEXT, pad_id=0, pad_token="")
    return tokenizer
