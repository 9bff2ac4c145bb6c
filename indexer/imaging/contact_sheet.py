"""Many small pictures as one, for people who would rather look than read."""

import io
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

TILE = 200
LABEL = 18
GAP = 10
PAPER = (250, 249, 246)
INK = (70, 66, 60)


def contact_sheet(
    tiles: Sequence[tuple[bytes, str]], *, columns: int | None = None, tile_px: int = TILE
) -> bytes:
    """Lay out pictures (JPEG or PNG bytes, label) row by row; the result is a PNG file.

    Args:
        tiles: In reading order. Each picture keeps its shape inside its square.
        columns: Default: about as many as rows.
        tile_px: The side of the square that a picture is fitted into.
    """
    columns = columns or max(1, math.ceil(math.sqrt(len(tiles))))
    rows = math.ceil(len(tiles) / columns)
    cell_w, cell_h = tile_px + GAP, tile_px + LABEL + GAP
    sheet = Image.new("RGB", (GAP + max(columns, 1) * cell_w, GAP + max(rows, 1) * cell_h), PAPER)
    pen = ImageDraw.Draw(sheet)
    for position, (data, label) in enumerate(tiles):
        left = GAP + (position % columns) * cell_w
        top = GAP + (position // columns) * cell_h
        with Image.open(io.BytesIO(data)) as picture:
            fitted = picture.convert("RGB")
        fitted.thumbnail((tile_px, tile_px))
        sheet.paste(fitted, (left + (tile_px - fitted.width) // 2, top + (tile_px - fitted.height) // 2))
        pen.text((left, top + tile_px + 3), label, fill=INK)
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()
