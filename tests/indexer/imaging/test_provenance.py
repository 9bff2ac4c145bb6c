"""A generated picture says what made it."""

import io
import json
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from indexer.imaging.provenance import SOURCE_TYPE, XMP_KEY, Origin, to_signed_png

PROMPT = 'a <b>"fox"</b> & \x07 🦊'


def test_a_signed_picture_says_where_it_is_from() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)
    origin = Origin("Kallos 1", "tiny", PROMPT, {"seed": 7, "steps": 4})
    data = to_signed_png(pixels, origin)
    assert data == to_signed_png(pixels, origin)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
        text = dict(image.text)  # type: ignore[attr-defined]  # of PNG files only
    assert text["Software"] == "Kallos 1; tiny"
    assert text["Description"] == PROMPT
    assert json.loads(text["Generation"]) == {"model": "tiny", "prompt": PROMPT, "seed": 7, "steps": 4}
    xmp = ElementTree.fromstring(text[XMP_KEY])
    source = xmp.find(".//{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    said = xmp.find(".//{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li")
    assert source is not None
    assert source.text == SOURCE_TYPE
    assert said is not None
    assert said.text == PROMPT.replace("\x07", " ")
