"""A made picture says so wherever it goes: a PNG with its origin in text chunks and XMP.

XMP holds the IPTC's digital source type, which is what other programs look for; the text chunks hold what
is needed to make the picture again. The same picture and origin give the same bytes. Metadata can be
stripped by whoever wants to: it informs, it does not prove.
"""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from indexer.types import JSONValue

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
XMP_KEY = "XML:com.adobe.xmp"
PREVIEW_SIDE = 128
PREVIEW_QUALITY = 70
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>
<xmp:CreatorTool>{software}</xmp:CreatorTool>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{prompt}</rdf:li></rdf:Alt></dc:description>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who made a picture, of which words, how. `facts`: seed, steps and the like."""

    software: str
    model: str
    prompt: str
    facts: Mapping[str, JSONValue]


def to_signed_png(pixels_HW3: UInt8[ndarray, "h w 3"], origin: Origin) -> bytes:
    """The picture as a PNG that names its origin."""
    software = f"{origin.software}; {origin.model}"
    made = {"model": origin.model, "prompt": origin.prompt, **origin.facts}
    chunks = PngInfo()
    chunks.add_itxt("Software", software)
    chunks.add_itxt("Description", origin.prompt)
    chunks.add_itxt("Generation", json.dumps(made, ensure_ascii=False))
    prompt = escape(NOT_XML.sub(" ", origin.prompt))
    chunks.add_itxt(
        XMP_KEY, XMP.format(source=SOURCE_TYPE, software=escape(NOT_XML.sub(" ", software)), prompt=prompt)
    )
    out = io.BytesIO()
    Image.fromarray(pixels_HW3).save(out, "PNG", pnginfo=chunks)
    return out.getvalue()


def to_preview(pixels_HW3: UInt8[ndarray, "h w 3"]) -> bytes:
    """A JPEG of at most PREVIEW_SIDE pixels: a few kilobytes, to watch a picture come about."""
    image = Image.fromarray(pixels_HW3)
    image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=PREVIEW_QUALITY)
    return out.getvalue()
