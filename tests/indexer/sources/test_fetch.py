"""Pictures by URL: what is fetched, and what is refused."""

import pytest

from indexer.errors import UnreadableImageError
from indexer.imaging.decode import Limits
from indexer.sources.fetch import UrlFetcher, is_public
from tests.support.web import PNG, web_server

LIMITS = Limits(max_bytes=1_000_000, max_pixels=1 << 24)


def reason(fetcher: UrlFetcher, url: str) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        fetcher.fetch(url)
    return caught.value.reason


def test_pictures_are_fetched_and_redirects_followed() -> None:
    with web_server() as site, UrlFetcher(LIMITS, allow_private=True) as fetcher:
        assert fetcher.fetch(f"{site}/a.png") == PNG
        assert fetcher.fetch(f"{site}/away") == PNG


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/missing.png", "unreachable"),
        ("/round", "unreachable"),
        ("/nowhere", "unreachable"),
        ("/shy.png", "opted_out"),
        ("/endless.png", "too_many_bytes"),
    ],
)
def test_what_cannot_be_used_is_named(path: str, expected: str) -> None:
    with web_server() as site, UrlFetcher(LIMITS, allow_private=True) as fetcher:
        assert reason(fetcher, site + path) == expected


def test_a_site_that_drips_is_left_after_the_time_for_one_picture() -> None:
    with web_server() as site, UrlFetcher(LIMITS, timeout_s=0.4, allow_private=True) as fetcher:
        with pytest.raises(UnreadableImageError, match=r"not whole after 0\.4 s") as caught:
            fetcher.fetch(f"{site}/slow.png")
        assert caught.value.reason == "unreachable"


def test_this_machine_is_out_of_reach() -> None:
    with web_server() as site, UrlFetcher(LIMITS) as fetcher:
        port = site.rpartition(":")[2]
        for host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "2130706433", "0x7f.1"):
            assert reason(fetcher, f"http://{host}:{port}/a.png") in ("forbidden_address", "unreachable")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://example.org/a.png", "http://", "nonsense", "http://[::1"]
)
def test_only_the_web_is_fetched_from(url: str) -> None:
    with UrlFetcher(LIMITS) as fetcher:
        assert reason(fetcher, url) == "unreachable"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("2606:4700::1111", True),
        ("64:ff9b::808:808", True),  # 8.8.8.8 by NAT64
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # where clouds keep their secrets
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False),  # 127.0.0.1 by 6to4
        ("64:ff9b::7f00:1", False),  # 127.0.0.1 by NAT64
        ("::7f00:1", False),  # 127.0.0.1 as IPv6 wrote it at first
        ("fec0::2", False),  # private before fd00::
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public
