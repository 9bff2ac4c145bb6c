"""Folders of captioned pictures: the same pictures with the same captions in each form."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.errors import InvalidInputError
from indexer.sources.captioned import Captioned, has_list, read_captioned
from tests.support.files import encoded, noise

SAID = {"a": ("A crane.", "A bird by a lake."), "b": ("Two dogs.",)}


def write_picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(noise(1)))
    return path


def jsonl(folder: Path) -> None:
    rows = [{"file": f"{name}.png", "captions": said, "credit": "somebody"} for name, said in SAID.items()]
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def coco(folder: Path) -> None:
    names = list(SAID)
    annotations = [
        {"image_id": names.index(n), "caption": c, "id": 9} for n, said in SAID.items() for c in said
    ]
    images = [{"id": i, "file_name": f"{name}.png"} for i, name in enumerate(names)]
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": annotations}))


def beside(folder: Path) -> None:
    """One as img2dataset writes its captions, one with more of them."""
    (folder / "a.json").write_text(
        json.dumps({"caption": SAID["a"][0], "captions": SAID["a"], "status": "ok"})
    )
    (folder / "b.txt").write_text("Two dogs.")


@pytest.mark.parametrize("write", [jsonl, coco, beside])
def test_the_three_forms_say_the_same(tmp_path: Path, write: Callable[[Path], None]) -> None:
    expected = [Captioned(write_picture(tmp_path / f"{name}.png"), said) for name, said in SAID.items()]
    write_picture(tmp_path / "uncaptioned.png")
    write(tmp_path)
    assert read_captioned(tmp_path) == expected
    assert has_list(tmp_path) == (write is not beside)


def test_a_split_of_a_list_is_its_own_part(tmp_path: Path) -> None:
    for name, split in (("a", "train"), ("b", "dev"), ("c", None)):
        write_picture(tmp_path / f"{name}.png")
        with (tmp_path / "captions.jsonl").open("a") as file:
            file.write(json.dumps({"file": f"{name}.png", "captions": [name], "split": split}) + "\n")
    assert [(p.path.stem, p.split) for p in read_captioned(tmp_path)] == [
        ("a", "train"),
        ("b", "dev"),
        ("c", None),
    ]
    assert [p.path.stem for p in read_captioned(tmp_path, "dev")] == ["b"]
    with pytest.raises(InvalidInputError, match="no captioned picture of the split 'test'"):
        read_captioned(tmp_path, "test")


@pytest.mark.parametrize(("part", "split"), [("train2017", "train"), ("val2017", "dev"), ("own", None)])
@pytest.mark.parametrize("home", ["{part}", ".", "images/{part}", "images"])
def test_pictures_of_coco_are_found_where_it_keeps_them(
    tmp_path: Path, part: str, split: str | None, home: str
) -> None:
    picture = write_picture(tmp_path / home.format(part=part) / "1.png")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val2017.json").write_text("{}")
    (tmp_path / "annotations" / f"captions_{part}.json").write_text(
        json.dumps(
            {
                "images": [{"id": 7, "file_name": "1.png"}, {"id": 8, "file_name": "not-copied.png"}],
                "annotations": [
                    {"image_id": 7, "caption": "A  cat\nsleeps."},
                    {"image_id": 8, "caption": "A"},
                ],
            }
        )
    )
    (found,) = read_captioned(tmp_path)
    assert found.path.samefile(picture)
    assert (found.captions, found.split) == (("A cat sleeps.",), split)


def test_what_is_no_caption_is_left_out(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    rows = [
        {"file": "a.png", "captions": ["", "one", "one", None]},
        {"file": "a.png", "captions": []},
        {"file": "gone.png", "captions": ["two"]},
    ]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [picture.captions for picture in read_captioned(tmp_path)] == [("one",)]


def test_stamps_are_pictures_with_a_first_line(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_picture(tmp_path / f"{name}.png")
    (tmp_path / "a.txt").write_text("A crane.\nde.utf8=Ein Kranich.\n")
    (tmp_path / "b.txt").write_text("\n")
    assert read_captioned(tmp_path) == [Captioned(tmp_path / "a.png", ("A crane.",))]


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"file": "a.png"}', '{"captions": ["a"]}', '{"file": 1, "captions": []}']
)
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    write_picture(tmp_path / "a.png")
    (tmp_path / "captions.jsonl").write_text('{"file": "a.png", "captions": ["a"]}\n' + line + "\n")
    with pytest.raises(InvalidInputError, match="line 2: expected an object with file and captions"):
        read_captioned(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"images": [{"id": 1}], "annotations": []}'])
def test_a_broken_list_of_coco_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "captions_val2017.json").write_text(content)
    with pytest.raises(
        InvalidInputError, match=r"captions_val2017\.json: expected COCO's images and annotations"
    ):
        read_captioned(tmp_path)


def test_a_folder_without_captions_says_what_was_expected(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    with pytest.raises(InvalidInputError, match=r"has no captioned picture: expected captions\.jsonl"):
        read_captioned(tmp_path)
