"""Pipeline folders that are known without loading them, and those that are refused."""

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub.utils._paths import filter_repo_objects

from indexer.errors import CorruptStoreError, InvalidInputError, NotFoundError, UnknownModelError
from rerank.generate.diffusers.families import FAMILIES, KNOWN_GENERATORS
from rerank.generate.diffusers.folder import UNKNOWN_LICENCE, UNREADABLE_LICENCE, read_pipeline_folder
from rerank.generate.registry import download, list_generators, load_generator
from tests.support.tiny_clip import put_in_cache
from tests.support.tiny_pipelines import rewrite_index, tiny_safety_checker, write_pipeline
from training.policies.tiny import BUILDERS

HOME = "kallos/tiny-diffusion"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipelines") / "tiny"
    return write_pipeline("sd15", folder, safety_checker=tiny_safety_checker(flags=False))


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "tiny")


@pytest.mark.parametrize(("family", "native_px"), [("sdxl", 64), ("sd3", 128), ("flux", 256)])
def test_each_family_is_recognised_with_its_sizes(tmp_path: Path, family: str, native_px: int) -> None:
    found = read_pipeline_folder(write_pipeline(family, tmp_path / family))
    assert (found.family.name, found.native_px, found.variant) == (family, native_px, None)
    assert not found.has_safety_checker


def test_every_family_has_a_builder_and_a_published_model() -> None:
    names = {family.name for family in FAMILIES}
    assert names == set(BUILDERS) == {model.family for model in KNOWN_GENERATORS}


def test_a_table_of_places_bounds_the_size(tmp_path: Path) -> None:
    folder = write_pipeline("sd3", tmp_path / "sd3")
    path = folder / "transformer/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pos_embed_max_size": 20}))
    assert read_pipeline_folder(folder).most_px == 20 * 2 * 4  # patches of 2 latents of 4 px


def test_what_the_folder_holds_is_read(folder: Path) -> None:
    found = read_pipeline_folder(folder)
    assert found.licence == "openrail, LICENSE.md"
    assert found.has_safety_checker
    weights = sum(file.stat().st_size for file in folder.glob("*/*.safetensors"))
    assert found.size_mb == round(weights / 1e6)


@pytest.mark.parametrize(
    ("head", "licence"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        (
            "---\nlicense: other\nlicense_name: own-1\nlicense_link: https://x.test/l\n---\n",
            "own-1, https://x.test/l",
        ),
        ("# no head\n", UNKNOWN_LICENCE),
        ("---\nlicense: [\n---\n", UNREADABLE_LICENCE),
    ],
)
def test_the_licence_is_what_the_card_says(folder: Path, head: str, licence: str) -> None:
    (folder / "README.md").write_text(head)
    assert read_pipeline_folder(folder).licence == licence


def test_a_folder_without_a_card_has_an_unknown_licence(folder: Path) -> None:
    (folder / "README.md").unlink()
    assert read_pipeline_folder(folder).licence == UNKNOWN_LICENCE


def test_the_identity_changes_with_the_weights(folder: Path) -> None:
    before = read_pipeline_folder(folder).identity
    assert read_pipeline_folder(folder).identity == before
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")
    assert read_pipeline_folder(folder).identity != before


def test_a_pickle_only_folder_is_refused(tmp_path: Path) -> None:
    folder = write_pipeline("sd15", tmp_path / "old", safe=False)
    assert list(folder.glob("*/*.bin"))
    with pytest.raises(InvalidInputError, match=r"weights are a pickle.*expected \.safetensors"):
        load_generator(f"diffusers:{folder}")


def test_one_pickled_part_is_enough_to_refuse(folder: Path) -> None:
    checker = folder / "safety_checker"
    (checker / "model.safetensors").rename(checker / "pytorch_model.bin")
    with pytest.raises(InvalidInputError, match="safety_checker: its weights are a pickle"):
        read_pipeline_folder(folder)


def test_a_pickle_beside_safetensors_is_left_alone(folder: Path) -> None:
    (folder / "unet/diffusion_pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    load_generator(f"diffusers:{folder}")


def test_code_of_other_libraries_is_refused(folder: Path) -> None:
    rewrite_index(folder, unet=["my_own_module", "UNet"])
    with pytest.raises(InvalidInputError, match=r"part unet wants code of 'my_own_module'"):
        read_pipeline_folder(folder)


def test_parts_that_are_missing_or_damaged_are_named(folder: Path) -> None:
    (folder / "vae/config.json").write_text("{")
    with pytest.raises(CorruptStoreError, match=r"vae/config\.json"):
        read_pipeline_folder(folder)
    (folder / "vae/config.json").write_text("[]")
    with pytest.raises(CorruptStoreError, match="expected a JSON object"):
        read_pipeline_folder(folder)
    (folder / "vae/config.json").write_text("{}")
    with pytest.raises(CorruptStoreError, match="block_out_channels"):
        read_pipeline_folder(folder)
    (folder / "vae/config.json").unlink()
    with pytest.raises(CorruptStoreError, match="part vae is missing"):
        read_pipeline_folder(folder)
    shutil.rmtree(folder / "text_encoder")
    with pytest.raises(CorruptStoreError, match="part text_encoder is missing"):
        read_pipeline_folder(folder)
    with pytest.raises(NotFoundError, match=r"model_index\.json is missing"):
        read_pipeline_folder(folder / "unet")


def test_weights_that_are_not_there_yet_are_said_to_be_missing(folder: Path) -> None:
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(CorruptStoreError, match="unet: its weights are missing"):
        read_pipeline_folder(folder)


def test_only_half_precision_files_are_enough(folder: Path) -> None:
    whole = read_pipeline_folder(folder)
    for file in folder.glob("*/*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    half = read_pipeline_folder(folder)
    assert (whole.variant, half.variant) == (None, "fp16")
    assert half.size_mb == whole.size_mb


def test_shards_are_weights_too(folder: Path) -> None:
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_name("diffusion_pytorch_model-00001-of-00001.safetensors"))
    assert read_pipeline_folder(folder).variant is None


def test_a_cached_pipeline_is_found_by_its_repository(folder: Path, tmp_path: Path) -> None:
    snapshot = put_in_cache(tmp_path / "cache", HOME, folder)
    generator = load_generator(f"diffusers:{HOME}", cache=tmp_path / "cache")
    assert generator.model_id == f"diffusers:{HOME}/{read_pipeline_folder(snapshot).identity}"
    assert generator.licence == "openrail, LICENSE.md"


def test_the_list_holds_what_is_installed_known_and_cached(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    known = KNOWN_GENERATORS[0]
    put_in_cache(cache, HOME, folder)
    put_in_cache(cache, known.repository, folder)
    (folder / "vae/config.json").unlink()
    put_in_cache(cache, "kallos/in-part", folder)
    found = list_generators(cache=cache)
    assert [info.name for info in found] == [
        "builtin",
        *(f"diffusers:{model.repository}" for model in KNOWN_GENERATORS),
        f"diffusers:{HOME}",
    ]
    status = {info.name: info.status for info in found}
    assert status[f"diffusers:{known.repository}"] == status[f"diffusers:{HOME}"] == "cached"
    assert status[f"diffusers:{KNOWN_GENERATORS[1].repository}"] == "downloadable"
    assert found[-1].licence == "openrail, LICENSE.md"
    assert found[-1].family == "sd15"


class Hub:
    """A place to fetch from: remembers what was asked for, and puts `folder` into a cache."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.asked: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []
        self._folder = folder
        self._cache = cache

    def fetch(self, repository: str, wanted: tuple[str, ...], unwanted: tuple[str, ...]) -> Path:
        self.asked.append((repository, wanted, unwanted))
        if len(self.asked) == 1:
            self.snapshot = put_in_cache(self._cache, repository, self._folder)
        return self.snapshot

    def taken(self, offered: list[str]) -> list[str]:
        """Which of the files the hub's own filter lets through."""
        return [
            name
            for _, wanted, unwanted in self.asked
            for name in filter_repo_objects(
                offered, allow_patterns=list(wanted), ignore_patterns=list(unwanted)
            )
        ]


def test_a_download_takes_safetensors_of_the_parts_only(folder: Path, tmp_path: Path) -> None:
    offered = [
        "model_index.json",
        "README.md",
        "v1-5-pruned.safetensors",
        "unet/config.json",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "text_encoders/clip_g.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/spiece.model",
        "vae/model.onnx",
    ]
    whole, half = Hub(folder, tmp_path / "whole"), Hub(folder, tmp_path / "half")
    assert download(f"diffusers:{HOME}", fetch=whole.fetch) == whole.snapshot
    assert {repository for repository, _, _ in whole.asked} == {HOME}
    rest = ["unet/config.json", "tokenizer/merges.txt", "tokenizer/spiece.model"]
    plain = "unet/diffusion_pytorch_model.safetensors"
    assert set(whole.taken(offered)) == {"model_index.json", "README.md", plain, *rest}
    download(f"diffusers:{HOME}", half=True, fetch=half.fetch)
    smaller = "unet/diffusion_pytorch_model.fp16.safetensors"
    assert set(half.taken(offered)) == {"model_index.json", "README.md", smaller, *rest}


def test_another_kind_of_pipeline_is_refused_before_its_weights_are_fetched(
    folder: Path, tmp_path: Path
) -> None:
    rewrite_index(folder, _class_name="WanPipeline")
    place = Hub(folder, tmp_path / "cache")
    with pytest.raises(InvalidInputError, match="WanPipeline"):
        download(f"diffusers:{HOME}", fetch=place.fetch)
    assert place.taken(["unet/x.safetensors", "vae/x.safetensors"]) == []


def test_only_published_pipelines_are_downloaded(folder: Path) -> None:
    for name in ("builtin", f"diffusers:{folder}", "diffusers:~/models"):
        with pytest.raises(InvalidInputError, match="on this machine already"):
            download(name)
    for name in ("org/name", "diffusers:name", "diffusers:../../etc"):
        with pytest.raises((UnknownModelError, InvalidInputError)):
            download(name)
