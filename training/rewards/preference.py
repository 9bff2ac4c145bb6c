"""Models of people's preferences that are published: found on this machine, or said where to get them.

Nothing is downloaded. torch is imported by the first one that is loaded.
"""

from dataclasses import replace
from pathlib import Path

from indexer.encoders import hub
from indexer.encoders.openclip import PREFIX, OpenClipEncoder
from indexer.encoders.openclip_pixels import fit
from indexer.errors import InvalidInputError, UnavailableError
from training.heavy import heavy_imports
from training.rewards.cached_encoder import CachedEncoder
from training.rewards.embedded import AgreementReward
from training.rewards.reward import Reward, RewardCard

PICKSCORE = "yuvalkirstain/PickScore_v1"
PICKSCORE_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the second is read with weights_only
PICKSCORE_PROCESSOR = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
HPS, HPS_FILE, HPS_ARCHITECTURE = "xswu/HPSv2", "HPS_v2.1_compressed.pt", "ViT-H-14"


def load_pickscore(weights: str, card: RewardCard, *, device: str, cache: Path | None = None) -> Reward:
    """PickScore from the folder `weights`, or from the Hugging Face cache where that is empty.

    Raises:
        UnavailableError: It is not on this machine, or torch or transformers is not.
        InvalidInputError: `weights` is no folder with a model.
        CorruptStoreError: The files are damaged.
    """
    folder = _pickscore_folder(weights, cache)
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        found = hub.find_file(PICKSCORE_PROCESSOR, tokenizer.name, cache)
        if found is None:
            raise UnavailableError(
                f"{folder} has no tokenizer.json: hf download {PICKSCORE_PROCESSOR} tokenizer.json"
            )
        tokenizer = found
    with heavy_imports("generate"):
        import torch

        from training.rewards.pickscore import ClipFolder
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        where = torch.device(name)
    except RuntimeError as error:
        raise InvalidInputError(f"device is {device!r}: expected auto, cpu, cuda or cuda:N") from error
    if where.type == "cuda" and not torch.cuda.is_available():
        raise UnavailableError(f"device is {device!r}, but torch finds no CUDA device")
    model = ClipFolder(folder, tokenizer, where)
    return AgreementReward(CachedEncoder(model.encode_images, model.encode_texts), card, model.scale)


def load_hps(
    weights: str,
    card: RewardCard,
    *,
    device: str,
    cache: Path | None = None,
    architecture: str = HPS_ARCHITECTURE,
) -> Reward:
    """HPSv2.1: the cosine of an open_clip ViT-H-14 that was tuned on rankings.

    Its authors show it a picture whose longer side fits, on black; other open_clip models crop.

    Raises:
        UnavailableError: It is not on this machine, or torch or open_clip is not.
        InvalidInputError: `weights` is not such a checkpoint, or not safe to load.
    """
    path = Path(weights).expanduser() if weights else hub.find_weights(HPS, HPS_FILE, cache)
    if path is None:
        raise UnavailableError(f"HPSv2.1 is not on this machine: hf download {HPS} {HPS_FILE}")
    # float32: scores of good pictures differ in the third digit, where bfloat16 rounds.
    encoder = OpenClipEncoder(f"{PREFIX}{architecture}@{path}", device=device, precision="fp32")
    whole = replace(encoder.preprocess, resize_mode="longest")
    cached = CachedEncoder(
        lambda pictures: encoder.encode_prepared([fit(picture, whole) for picture in pictures]),
        encoder.encode_texts,
    )
    return AgreementReward(cached, card)


def pickscore_is_here(cache: Path | None = None) -> bool:
    return _cached_pickscore(cache) is not None


def hps_is_here(cache: Path | None = None) -> bool:
    return hub.find_weights(HPS, HPS_FILE, cache) is not None


def _pickscore_folder(weights: str, cache: Path | None) -> Path:
    if weights:
        folder = Path(weights).expanduser()
        if not any((folder / name).is_file() for name in PICKSCORE_WEIGHTS):
            raise InvalidInputError(f"{folder} holds none of {', '.join(PICKSCORE_WEIGHTS)}")
        return folder
    found = _cached_pickscore(cache)
    if found is None:
        raise UnavailableError(f"PickScore is not on this machine: hf download {PICKSCORE}")
    return found


def _cached_pickscore(cache: Path | None) -> Path | None:
    found = (hub.find_file(PICKSCORE, name, cache) for name in PICKSCORE_WEIGHTS)
    weights = next((path for path in found if path is not None), None)
    return None if weights is None else weights.parent
