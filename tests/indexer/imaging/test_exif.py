"""What a camera wrote into a picture."""

from PIL import Image

from indexer.imaging.decode import Limits, decode
from tests.support.files import (
    encoded,
    halves,
)

LIMITS = Limits(max_bytes=1 << 24, max_pixels=1 << 24)


def test_what_the_camera_wrote_is_read() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x010E] = "NIKON CORPORATION", "NIKON D750", "The old harbour"
    exif.get_ifd(0x8769)[0x9003] = "2019:07:14 18:30:05"
    exif.get_ifd(0x8769)[0x9011] = "+02:00"
    exif.get_ifd(0x8825).update({1: "N", 2: (59.0, 54.0, 36.0), 3: "W", 4: (10.0, 45.0, 0.0)})
    metadata = decode(encoded(halves(), "JPEG", exif=exif), LIMITS).metadata
    assert metadata == {
        "taken_at": "2019-07-14T18:30:05+02:00",
        "camera": "NIKON D750",
        "caption": "The old harbour",
        "latitude": 59.91,  # 59 + 54/60 + 36/3600
        "longitude": -10.75,
    }
