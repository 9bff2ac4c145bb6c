"""Sizes of published models without their weights: published totals and counts by hand are the oracles."""

import pytest

from indexer.errors import InvalidInputError
from training.policies.options import Adapter
from training.policies.shapes import (
    count_parameters,
    count_trained,
    kept_for_gradient,
    latent_numbers,
    told_numbers,
)

pytestmark = pytest.mark.slow

SD15 = Adapter(rank=4, alpha=4.0)
TEXTS = {"clip_l": 123_060_480, "clip_g": 694_659_840, "t5": 4_762_310_656}


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("sd15", {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": TEXTS["clip_l"]}),
        ("sdxl", {"unet": 2_567_463_684, "text_encoder_2": TEXTS["clip_g"]}),
        ("sd3", {"transformer": 2_243_171_520, "text_encoder_3": TEXTS["t5"]}),
        ("flux", {"transformer": 11_901_408_320, "text_encoder_2": TEXTS["t5"]}),
    ],
)
def test_architectures_have_the_published_number_of_parameters(family: str, expected: dict[str, int]) -> None:
    found = count_parameters(family)
    assert {name: found[name] for name in expected} == expected


def test_an_adapter_of_rank_4_has_the_published_number_of_parameters() -> None:
    """What LoRA files of Stable Diffusion 1.5 with attention at rank 4 hold: 797,184 numbers, 3 MB."""
    assert count_trained("sd15", SD15) == 797_184
    assert count_trained("sd15", Adapter(rank=0)) == 859_520_964


def test_checkpointed_flux_keeps_the_inputs_of_its_blocks() -> None:
    """19 + 38 blocks, each with the tokens of the picture and of the prompt, 3072 numbers of 2 bytes each."""
    tokens = (512 // 16) ** 2 + 512
    by_hand = (19 + 38) * tokens * 3072 * 2
    adapter = Adapter(rank=4, alpha=4.0, targets=("attn.to_q",))
    kept = kept_for_gradient("flux", 512, adapter, rows=1, half=True, checkpointing=True)
    assert by_hand < kept.forward < 1.1 * by_hand
    assert 0 < kept.largest_block < kept.forward


def test_activations_grow_with_the_rows_and_shrink_with_checkpoints() -> None:
    one, two, thrifty = (
        kept_for_gradient("sd15", 256, SD15, rows=rows, half=True, checkpointing=checkpointing)
        for rows, checkpointing in ((1, False), (2, False), (2, True))
    )
    assert 1.9 * one.most < two.most < 2.1 * one.most
    assert thrifty.most < two.most / 3
    assert one.largest_block == 0


def test_a_frozen_layer_keeps_less_than_a_trained_one() -> None:
    adapter, whole = (
        kept_for_gradient("sd15", 256, kind, rows=1, half=False, checkpointing=False)
        for kind in (SD15, Adapter(rank=0))
    )
    assert adapter.most < whole.most


def test_latents_and_prompts_are_counted() -> None:
    assert latent_numbers("sd15", 512) == 4 * 64 * 64
    assert latent_numbers("flux", 720) == 16 * 90 * 90
    assert told_numbers("sd3") == (77 + 256) * 4096 + 2048
    assert told_numbers("flux") == 512 * 4096 + 768


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"'sd9'.*expected sd15, sdxl, sd3, flux"):
        count_parameters("sd9")
