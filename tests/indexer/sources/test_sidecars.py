"""What people wrote beside their pictures."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.sources.sidecars import LARGEST, READERS, read_sidecars
from indexer.tables.metadata import DEEPEST

XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmp:Rating="4" xmp:CreateDate="2021-03-04T05:06:07">
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">A kite over the sea</rdf:li></rdf:Alt></dc:description>
<dc:subject><rdf:Bag><rdf:li>kite</rdf:li><rdf:li>sea</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def test_a_text_file_is_a_caption() -> None:
    assert read_sidecars({"txt": b"A red\nkite.\n"}) == ({"caption": "A red kite."}, [])


def test_tux_paint_writes_one_caption_a_language() -> None:
    text = "A crane.\nde.utf8=Ein Kranich.\nfr.utf8=Une grue.\n"
    metadata, warnings = read_sidecars({"txt": text.encode()})
    assert metadata["caption"] == "A crane."
    assert metadata["captions"] == {"en": "A crane.", "de": "Ein Kranich.", "fr": "Une grue."}
    assert warnings == []


def test_google_takeout_gives_caption_date_and_place() -> None:
    document = {
        "title": "IMG_1.jpg",
        "description": "Grandmother",
        "photoTakenTime": {"timestamp": "86400"},
        "geoData": {"latitude": 1.5, "longitude": -2.5, "altitude": 0.0},
    }
    metadata, _ = read_sidecars({"json": json.dumps(document).encode()})
    assert metadata == {
        "caption": "Grandmother",
        "taken_at": "1970-01-02T00:00:00+00:00",
        "latitude": 1.5,
        "longitude": -2.5,
    }


def test_xmp_gives_caption_tags_rating_and_date() -> None:
    metadata, warnings = read_sidecars({"xmp": XMP.encode()})
    assert metadata == {
        "caption": "A kite over the sea",
        "tags": ["kite", "sea"],
        "rating": 4.0,
        "taken_at": "2021-03-04T05:06:07",
    }
    assert warnings == []


def test_an_xmp_with_entities_costs_a_warning_only() -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]>' + XMP
    metadata, warnings = read_sidecars({"xmp": bomb.encode(), "txt": b"kite"})
    assert metadata == {"caption": "kite"}
    assert len(warnings) == 1


@pytest.mark.parametrize("kind", sorted(READERS))
def test_a_huge_sidecar_is_not_read(kind: str) -> None:
    metadata, warnings = read_sidecars({kind: b"a" * (LARGEST + 1)})
    assert (metadata, len(warnings)) == ({}, 1)


@given(st.dictionaries(st.sampled_from(sorted(READERS)), st.binary(max_size=200)))
def test_any_bytes_are_metadata_or_a_warning(files: dict[str, bytes]) -> None:
    metadata, warnings = read_sidecars(files)
    json.dumps(metadata)
    assert all(isinstance(warning, str) for warning in warnings)


@pytest.mark.parametrize("value", ["NaN", "1e999", '"\\ud83d"', "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1)])
def test_what_cannot_be_stored_costs_a_warning_only(value: str) -> None:
    metadata, warnings = read_sidecars({"json": f'{{"stars": 3, "odd": {value}}}'.encode()})
    assert metadata["stars"] == 3
    assert metadata == json.loads(json.dumps(metadata, allow_nan=False))
    assert len(warnings) == 1
