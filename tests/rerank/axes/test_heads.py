"""Heads beside the same networks in torch, with random weights."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from indexer.encoders.tensor_files import read_checkpoint, read_safetensors
from indexer.errors import InvalidAxisError, InvalidInputError
from rerank.axes.heads import Activation, Head
from tests.support.pictures import unit_vectors

DIM = 24
BETWEEN = {"none": nn.Identity, "relu": nn.ReLU, "gelu": nn.GELU}


class Published(nn.Module):
    """The layout of LAION's predictor: `layers.N.weight`, dropout between, no activation."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(dim, 1024), nn.Dropout(0.2), nn.Linear(1024, 128), nn.Dropout(0.2)),
            *(nn.Linear(128, 64), nn.Dropout(0.1), nn.Linear(64, 16), nn.Linear(16, 1)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layers(x)
        return out


def oracle(network: nn.Module, vectors_ND: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        out: np.ndarray = network.eval()(torch.from_numpy(vectors_ND))[:, 0].numpy()
    return out


def tensors_of(network: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def test_the_laion_head_is_one_direction_and_a_bias() -> None:
    torch.manual_seed(1)
    network, vectors_ND = Published(DIM), unit_vectors(50, DIM)
    head = Head.of_tensors(tensors_of(network))
    line = head.collapse()
    assert line is not None
    assert np.linalg.norm(line.direction_D) == pytest.approx(1.0, abs=1e-6)
    assert line.predict(vectors_ND) == pytest.approx(oracle(network, vectors_ND), abs=1e-5)
    assert head(vectors_ND) == pytest.approx(oracle(network, vectors_ND), abs=1e-5)


def test_a_linear_head_needs_no_number() -> None:
    network, vectors_ND = nn.Linear(DIM, 1), unit_vectors(9, DIM)
    line = Head.of_tensors(tensors_of(network)).collapse()
    assert line is not None
    assert line.predict(vectors_ND) == pytest.approx(oracle(network, vectors_ND), abs=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    widths=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    activation=st.sampled_from(["none", "relu", "gelu"]),
    seed=st.integers(0, 99),
)
def test_any_head_computes_what_torch_computes(widths: list[int], activation: Activation, seed: int) -> None:
    torch.manual_seed(seed)
    stages: list[nn.Module] = []
    for before, after in zip([DIM, *widths], [*widths, 1], strict=True):
        stages += [nn.Linear(before, after), BETWEEN[activation]()]
    network = nn.Sequential(*stages[:-1])
    for parameter in network.parameters():
        parameter.data *= 3
    vectors_ND = unit_vectors(30, DIM, seed=seed)
    head = Head.of_tensors(tensors_of(network), activation)
    stored = Head.of(head.to_bytes())
    assert stored.activation == activation
    expected_N = oracle(network, vectors_ND)
    assert stored(vectors_ND) == pytest.approx(
        expected_N, abs=2e-5 * max(1.0, float(np.abs(expected_N).max()))
    )
    assert (head.collapse() is None) == (activation != "none")


def test_blocks_make_no_difference() -> None:
    network = nn.Sequential(nn.Linear(DIM, 8), nn.ReLU(), nn.Linear(8, 1))
    head, vectors_ND = Head.of_tensors(tensors_of(network), "relu"), unit_vectors(9000, DIM)
    assert head(vectors_ND) == pytest.approx(oracle(network, vectors_ND), abs=1e-5)
    assert head(vectors_ND[:0]).shape == (0,)


def test_a_deep_head_must_say_what_lies_between_its_layers() -> None:
    network = nn.Sequential(nn.Linear(DIM, 8), nn.ReLU(), nn.Linear(8, 1))
    with pytest.raises(InvalidAxisError, match=r"width 8, 1 at \[0, 2\].*give the activation"):
        Head.of_tensors(tensors_of(network))


def test_checkpoints_and_safetensors_hold_the_same_head() -> None:
    network, file = Published(DIM), io.BytesIO()
    torch.save(network.state_dict(), file)
    wrapped = io.BytesIO()
    torch.save({"state_dict": network.state_dict()}, wrapped)
    expected = Head.of_tensors(read_safetensors(save(network.state_dict()))).to_bytes()
    assert Head.of_tensors(read_checkpoint(file.getvalue())).to_bytes() == expected
    assert Head.of_tensors(read_checkpoint(wrapped.getvalue())).to_bytes() == expected


def test_a_checkpoint_that_would_run_code_is_refused() -> None:
    file = io.BytesIO()
    torch.save(Published(DIM), file)  # a pickled module
    with pytest.raises(InvalidInputError, match="not a torch checkpoint that is safe to load"):
        read_checkpoint(file.getvalue())
    numbers = io.BytesIO()
    torch.save({"epoch": 3}, numbers)
    with pytest.raises(InvalidInputError, match="named tensors alone"):
        read_checkpoint(numbers.getvalue())
    with pytest.raises(InvalidInputError, match="not a safetensors file"):
        read_safetensors(b"hello")


def linear(outputs: int, inputs: int) -> np.ndarray:
    return np.ones((outputs, inputs), np.float32)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "no layers"),
        ({"norm.running_mean": np.ones(3)}, "no part of a linear layer"),
        ({"0.weight": np.ones(3)}, "layer 0 is not linear"),
        ({"0.weight": linear(8, 4), "2.weight": linear(1, 9)}, "gives 8 numbers, the next one takes 9"),
        ({"0.weight": linear(3, 4)}, "gives 3 numbers for a picture"),
        ({"0.weight": linear(1, 4), "0.bias": np.ones(2)}, "bias of shape"),
        ({"0.weight": np.full((1, 4), np.nan)}, "not finite"),
        ({"0.weight": linear(1, 4), "a.0.weight": linear(1, 4)}, "two tensors claim"),
    ],
)
def test_files_that_hold_no_head_are_refused(tensors: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InvalidAxisError, match=message):
        Head.of_tensors(tensors)
    assert InvalidAxisError.code == "invalid_axis"


def test_a_head_that_knows_no_difference_is_refused() -> None:
    with pytest.raises(InvalidAxisError, match="the same value"):
        Head.of_tensors({"weight": np.zeros((1, 4)), "bias": np.ones(1)}).collapse()
