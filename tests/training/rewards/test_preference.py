import json
import math
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

from indexer.encoders.openclip_torch import architecture_preprocess
from indexer.errors import CorruptStoreError, InvalidInputError, UnavailableError
from tests.support.tiny_clip import put_in_cache
from tests.support.tiny_rewards import (
    HPS_MODEL,
    LOGIT_SCALE,
    PROMPT,
    SIDE,
    clip_pixels,
    liked,
    other,
    tiny_hps,
    tiny_pickscore,
    token_ids,
)
from training.rewards.preference import (
    HPS_ARCHITECTURE,
    PICKSCORE,
    hps_is_here,
    load_hps,
    load_pickscore,
    pickscore_is_here,
)
from training.rewards.registry import kind_of
from training.rewards.reward import Reward

PICK, HPS = kind_of("pickscore")[0].card, kind_of("hpsv2.1")[0].card


def pickscore(weights: Path | str = "", cache: Path | None = None) -> Reward:
    return load_pickscore(str(weights), PICK, device="cpu", cache=cache)


def hps(weights: Path | str = "", cache: Path | None = None) -> Reward:
    return load_hps(str(weights), HPS, device="cpu", cache=cache, architecture=HPS_MODEL)


def test_pickscore_is_the_logit_of_the_model_itself() -> None:
    model = CLIPModel.from_pretrained(tiny_pickscore())
    prompts = [PROMPT, "green hill a"]
    with torch.no_grad():
        expected = [
            model(input_ids=torch.tensor([token_ids(prompt)]), pixel_values=clip_pixels(picture))
            for picture, prompt in zip((liked(), other()), prompts, strict=True)
        ]
    logit_N = [float(answer.logits_per_image) for answer in expected]
    np.testing.assert_allclose(
        pickscore(tiny_pickscore()).score([liked(), other()], prompts), logit_N, rtol=1e-5
    )


def test_the_best_pickscore_there_is_is_the_scale_itself() -> None:
    """`liked` was given cosine 1 with PROMPT."""
    (score,) = pickscore(tiny_pickscore()).score([liked()], [PROMPT])
    assert score == pytest.approx(math.exp(LOGIT_SCALE), rel=1e-5)


def test_a_prompt_past_the_models_limit_is_cut_before_its_end_token() -> None:
    """16 tokens, of which two are the marks: 14 words are read."""
    reward = pickscore(tiny_pickscore())
    fits, longer, other_words = "a " * 14, "a " * 30, "a " * 13 + "kite"
    first, second, third = reward.score([other()] * 3, [fits, longer, other_words])
    assert first == second != third


def test_pickscore_is_found_in_the_hugging_face_cache(tmp_path: Path) -> None:
    assert not pickscore_is_here(tmp_path)
    put_in_cache(tmp_path, PICKSCORE, tiny_pickscore())
    assert pickscore_is_here(tmp_path)
    found, direct = pickscore(cache=tmp_path), pickscore(tiny_pickscore())
    assert found.score([other()], [PROMPT]) == direct.score([other()], [PROMPT])


def test_what_is_not_here_is_named_with_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"hf download yuvalkirstain/PickScore_v1"):
        pickscore(cache=tmp_path)
    with pytest.raises(UnavailableError, match=r"hf download xswu/HPSv2 HPS_v2.1_compressed.pt"):
        hps(cache=tmp_path)
    assert not hps_is_here(tmp_path)
    shutil.copytree(tiny_pickscore(), tmp_path / "folder")
    (tmp_path / "folder/tokenizer.json").unlink()
    with pytest.raises(
        UnavailableError, match=r"hf download laion/CLIP-ViT-H-14-laion2B-s32B-b79K tokenizer"
    ):
        pickscore(tmp_path / "folder", cache=tmp_path)


def test_a_device_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="device is 'warp': expected auto, cpu"):
        load_pickscore(str(tiny_pickscore()), PICK, device="warp")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"holds none of model\.safetensors"):
        pickscore(tmp_path)


def test_a_missing_weight_is_damage_and_not_filled_with_random_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(tiny_pickscore(), folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CorruptStoreError, match=r"visual_projection.weight"):
        pickscore(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_file_is_named(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(tiny_pickscore(), folder)
    (folder / name).write_bytes(b"\x00{{{")
    with pytest.raises(CorruptStoreError, match="folder"):
        pickscore(folder)


def test_hps_is_the_cosine_of_the_model_itself() -> None:
    state = torch.load(tiny_hps(), weights_only=True)["state_dict"]
    model = open_clip.create_model(HPS_MODEL)
    model.load_state_dict(state)
    model.eval()
    prompts = [PROMPT, "a green hill"]
    with torch.no_grad():
        image_ND = model.encode_image(torch.cat([clip_pixels(liked()), clip_pixels(other())]))
        text_ND = model.encode_text(open_clip.tokenize(prompts))
    cosine_N = torch.nn.functional.cosine_similarity(image_ND, text_ND).numpy()
    score_N = hps(tiny_hps()).score([liked(), other()], prompts)
    np.testing.assert_allclose(score_N, cosine_N, atol=1e-5)
    assert score_N[0] == pytest.approx(1.0, abs=1e-5)


def test_the_real_architecture_is_shown_pixels_scaled_as_openai_did() -> None:
    """As open_clip does by default, which the tiny one stands for."""
    found = architecture_preprocess(HPS_ARCHITECTURE)
    assert found.get("mean", open_clip.OPENAI_DATASET_MEAN) == open_clip.OPENAI_DATASET_MEAN
    assert found.get("std", open_clip.OPENAI_DATASET_STD) == open_clip.OPENAI_DATASET_STD


def test_hps_sees_the_whole_of_an_oblong_picture_on_black() -> None:
    wide = np.asarray(other())[:32]
    on_black = np.zeros((SIDE, SIDE, 3), np.uint8)
    on_black[16:48] = wide
    first, second = hps(tiny_hps()).score([wide, on_black], [PROMPT, PROMPT])
    assert first == pytest.approx(second, abs=1e-6)


def test_a_checkpoint_that_could_run_code_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "hps.pt"
    torch.save({"state_dict": {}, "hook": json.JSONDecoder}, path)
    with pytest.raises(InvalidInputError, match="could run code"):
        hps(path)
