"""Captioned pictures in a folder, in the three forms in which such sets come.

    captions.jsonl                  a line a picture: {"file": …, "captions": […], "split": "train"}
    annotations/captions_NAME.json  COCO: "images" and "annotations"; NAME begins with the split
    1.jpg + 1.txt | 1.json          img2dataset, and what else has its caption beside it

The first form that is found is read, in this order. Pictures that a list names and that are not there are
left out: whoever copies a part of a set copies its whole list.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer.errors import InvalidInputError
from indexer.imaging.decode import Limits
from indexer.sources.folder import FolderSource
from indexer.sources.sidecars import read_sidecars
from indexer.sources.source import SourceItem

LIST = "captions.jsonl"
COCO = re.compile(r"captions_?((train|val|test)?\w*)\.json")
SPLITS = {"val": "dev"}  # COCO's word for the pictures that choices are made on


@dataclass(frozen=True, slots=True)
class Captioned:
    """A picture and what is said of it, at least once; `split` is None where the set is not divided."""

    path: Path
    captions: tuple[str, ...]
    split: str | None = None


def read_captioned(folder: Path, split: str | None = None) -> list[Captioned]:
    """The captioned pictures of `folder`, of one `split` or all, in the order of the list or of their names.

    Raises InvalidInputError: there is none, or a list cannot be read.
    """
    found = [picture for picture in _read(folder) if split in (None, picture.split)]
    if not found:
        part = "" if split is None else f" of the split {split!r}"
        raise InvalidInputError(
            f"{folder} has no captioned picture{part}: expected {LIST}, COCO's annotations/captions_*.json, "
            "or pictures with a .txt or .json beside them"
        )
    return found


def has_list(folder: Path) -> bool:
    """Whether a file lists the captions, in place of one beside each picture."""
    return (folder / LIST).is_file() or bool(_coco_lists(folder))


def _read(folder: Path) -> Iterator[Captioned]:
    if (folder / LIST).is_file():
        return _of_list(folder)
    lists = _coco_lists(folder)
    return (picture for path in lists for picture in _of_coco(folder, path)) if lists else _beside(folder)


def _of_list(folder: Path) -> Iterator[Captioned]:
    with (folder / LIST).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                path, captions, split = folder / row["file"], _texts(row["captions"]), row.get("split")
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InvalidInputError(
                    f"{folder / LIST}, line {number}: expected an object with file and captions: {error!r}"
                ) from error
            if captions and path.is_file():
                yield Captioned(path, captions, split)


def _coco_lists(folder: Path) -> list[Path]:
    there = sorted([*folder.glob("captions*.json"), *folder.glob("annotations/captions*.json")])
    return [path for path in there if COCO.fullmatch(path.name)]


def _of_coco(folder: Path, path: Path) -> Iterator[Captioned]:
    name = COCO.fullmatch(path.name)
    assert name is not None
    split = name[2] and SPLITS.get(name[2], name[2])
    captions: dict[object, list[str]] = {}
    try:
        content = json.loads(path.read_text("utf-8"))
        files = {image["id"]: str(image["file_name"]) for image in content["images"]}
        for annotation in content["annotations"]:
            captions.setdefault(annotation["image_id"], []).append(annotation["caption"])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{path}: expected COCO's images and annotations: {error!r}") from error
    homes = [folder / name[1], folder, folder / "images" / name[1], folder / "images"]
    for key, file in files.items():
        picture = next((home / file for home in homes if (home / file).is_file()), None)
        if picture is not None and (said := _texts(captions.get(key, []))):
            yield Captioned(picture, said, split)


def _beside(folder: Path) -> Iterator[Captioned]:
    for item in FolderSource(folder, Limits.from_memory()).items():
        if isinstance(item, SourceItem):
            metadata, _ = read_sidecars(item.sidecars())
            listed = metadata.get("captions")
            said = _texts([metadata.get("caption"), *(listed if isinstance(listed, list) else ())])
            if said:
                yield Captioned(Path(item.uri), said)


def _texts(captions: Any) -> tuple[str, ...]:  # noqa: ANN401  # as somebody's JSON has it
    """Those that say something, each once."""
    given = [captions] if isinstance(captions, str) else captions
    texts = [" ".join(text.split()) for text in given if isinstance(text, str)]
    return tuple(dict.fromkeys(text for text in texts if text))
