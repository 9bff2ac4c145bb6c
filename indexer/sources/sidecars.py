"""What people wrote beside a picture: captions, tags, ratings and dates in `.txt`, `.json` and `.xmp`.

    kite.png  +  kite.txt | kite.png.txt | kite.json | kite.xmp …

A sidecar that cannot be read costs a warning, never the picture.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from indexer.tables.metadata import DEEPEST, storable
from indexer.types import JSONValue

LARGEST = 1 << 20  # bytes of one sidecar: more is no caption
LONGEST_CAPTION = 4000

# Tux Paint's stamps: the English line first, then one line a language.
TRANSLATION = re.compile(r"^([a-z]{2,3}(?:_[A-Za-z]+)?(?:@\w+)?)\.utf8\s*=\s*(.*)$")
# img2dataset writes how the download went beside what the picture shows; only the latter is kept.
BOOKKEEPING = frozenset(
    (
        "key",
        "status",
        "error_message",
        "width",
        "height",
        "original_width",
        "original_height",
        "exif",
        "sha256",
        "md5",
        "format",
    )
)


def read_sidecars(parts: Mapping[str, bytes]) -> tuple[dict[str, JSONValue], list[str]]:
    """Metadata from sidecars, and a warning for each that could not be read.

    Args:
        parts: Contents by kind: "txt", "json", "xmp". XMP wins over JSON, and JSON over text.

    Returns:
        Only what is known of `caption`, `captions` (by language), `title`, `tags`, `rating`, `taken_at`
        (ISO 8601), `latitude`, `longitude`, and the other fields of a JSON sidecar under their own names.
    """
    metadata: dict[str, JSONValue] = {}
    warnings = []
    for kind, read in READERS.items():
        if kind not in parts:
            continue
        try:
            if len(parts[kind]) > LARGEST:
                raise ValueError(f"{len(parts[kind])} bytes: expected at most {LARGEST}")
            found = read(parts[kind])
            metadata |= (kept := storable(found))
            if kept != found:
                warnings.append(
                    f"sidecar .{kind}: read without NaN, halves of letters and more than {DEEPEST} levels"
                )
        except (ValueError, ParseError, DefusedXmlException, RecursionError, OverflowError) as error:
            warnings.append(f"sidecar .{kind} left aside: {str(error)[:200] or type(error).__name__}")
    return metadata, warnings


def _from_txt(data: bytes) -> dict[str, JSONValue]:
    lines = [line.strip() for line in _text(data).splitlines() if line.strip()]
    if not lines:
        return {}
    captions: dict[str, JSONValue] = {}
    for line in lines[1:]:
        if found := TRANSLATION.match(line):
            captions[found[1]] = found[2][:LONGEST_CAPTION]
    if captions:
        return {"caption": lines[0], "captions": {"en": lines[0], **captions}}
    return {"caption": " ".join(lines)[:LONGEST_CAPTION]}


def _from_json(data: bytes) -> dict[str, JSONValue]:
    content = json.loads(_text(data))
    if not isinstance(content, dict):
        raise ValueError(f"a JSON {type(content).__name__}: expected an object")
    if "photoTakenTime" in content:
        return _from_takeout(content)
    return {name: value for name, value in content.items() if name not in BOOKKEEPING and value is not None}


def _from_takeout(content: Mapping[str, JSONValue]) -> dict[str, JSONValue]:
    """Google Photos' export, one JSON per picture."""
    metadata: dict[str, JSONValue] = {}
    if content.get("description"):
        metadata["caption"] = content["description"]
    taken = content["photoTakenTime"]
    if isinstance(taken, dict) and isinstance(taken.get("timestamp"), str | int):
        metadata["taken_at"] = datetime.fromtimestamp(int(str(taken["timestamp"])), UTC).isoformat()
    place = content.get("geoData")
    if isinstance(place, dict) and (place.get("latitude"), place.get("longitude")) != (0.0, 0.0):
        metadata |= {name: place[name] for name in ("latitude", "longitude") if name in place}
    return metadata


RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
XMP = "{http://ns.adobe.com/xap/1.0/}"
EXIF = "{http://ns.adobe.com/exif/1.0/}"
PHOTOSHOP = "{http://ns.adobe.com/photoshop/1.0/}"


def _from_xmp(data: bytes) -> dict[str, JSONValue]:
    root = fromstring(_text(data))
    metadata: dict[str, JSONValue] = {}
    for name, tag in (("caption", "description"), ("title", "title")):
        if texts := _items(root, DUBLIN_CORE + tag):
            metadata[name] = texts[0][:LONGEST_CAPTION]
    if tags := _items(root, DUBLIN_CORE + "subject"):
        metadata["tags"] = list[JSONValue](tags)
    if rating := _property(root, XMP + "Rating"):
        metadata["rating"] = float(rating)
    for tag in (EXIF + "DateTimeOriginal", PHOTOSHOP + "DateCreated", XMP + "CreateDate"):
        if taken := _property(root, tag):
            metadata["taken_at"] = taken
            break
    return metadata


def _items(root: Element, tag: str) -> list[str]:
    """The entries of an XMP list (rdf:Alt, rdf:Bag or rdf:Seq), or its plain text."""
    found = root.find(f".//{tag}")
    if found is None:
        return []
    texts = [item.text for item in found.iter(RDF + "li")] or [found.text]
    return [text.strip() for text in texts if text and text.strip()]


def _property(root: Element, tag: str) -> str | None:
    """A simple XMP property: an element, or an attribute of rdf:Description."""
    found = root.find(f".//{tag}")
    if found is not None and found.text:
        return str(found.text).strip()
    for description in root.iter(RDF + "Description"):
        if tag in description.attrib:
            return str(description.attrib[tag])
    return None


def _text(data: bytes) -> str:
    return data.decode("utf-8-sig", "replace").replace("\0", "")


# Later ones win.
READERS: Mapping[str, Callable[[bytes], dict[str, JSONValue]]] = {
    "txt": _from_txt,
    "json": _from_json,
    "xmp": _from_xmp,
}
