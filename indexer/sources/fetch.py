"""Pictures by URL, from the public internet only.

A list of URLs comes from strangers, so it must not become a way to read what only this machine can reach. The
name is resolved here, every address it has must be public, and the connection goes to the address that was
checked: there is no second look-up that could answer differently. Each redirect starts over.
"""

import ipaddress
import socket
import time
from collections.abc import Callable
from urllib.parse import urljoin, urlsplit

import httpx

from indexer.errors import InvalidInputError, UnreadableImageError
from indexer.imaging.decode import Limits

Fetch = Callable[[str], bytes]

REDIRECTS = 5
USER_AGENT = "kallos"
# What a site answers in X-Robots-Tag when its pictures are not for machine learning.
OPT_OUT = frozenset({"noai", "noimageai", "noindex", "noimageindex"})
REDIRECT_STATUS = frozenset({301, 302, 303, 307, 308})
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


def checked_endpoint(url: str, whose: str) -> str:
    """`url` of a server that is asked over HTTP, when it can be; it stands in logs and cards, so no password.

    Raises InvalidInputError, which says `whose` it is.
    """
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidInputError(f"{whose} URL is not one: {error}") from error
    if parts.userinfo:
        raise InvalidInputError(f"{whose} URL holds a password: expected none")
    if parts.scheme not in ("http", "https") or not parts.host:
        raise InvalidInputError(f"{whose} URL is {url!r}: expected http://… or https://…")
    return url


class UrlFetcher:
    """Fetches pictures; may be used from several threads. Close it, or use it as a context manager.

    Args:
        limits: `max_bytes` is enforced while reading, whatever the headers say.
        timeout_s: For one picture, from the first connection to its last byte.
        allow_private: Also fetch from addresses that are not public.
    """

    def __init__(self, limits: Limits, *, timeout_s: float = 20.0, allow_private: bool = False) -> None:
        self._limits = limits
        self._timeout_s = timeout_s
        self._allow_private = allow_private
        self._client = httpx.Client(
            timeout=timeout_s, follow_redirects=False, trust_env=False, headers={"User-Agent": USER_AGENT}
        )

    def __enter__(self) -> "UrlFetcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def fetch(self, url: str) -> bytes:
        """The body.

        Raises:
            UnreadableImageError: unreachable, forbidden_address, opted_out or too_many_bytes.
        """
        deadline = time.monotonic() + self._timeout_s
        for _ in range(REDIRECTS + 1):
            answer = self._get(url, deadline)
            if isinstance(answer, bytes):
                return answer
            try:
                url = urljoin(url, answer)
            except ValueError as error:
                raise UnreadableImageError(
                    "unreachable", f"{url}: redirects to {answer!r}: {error}"
                ) from error
        raise UnreadableImageError("unreachable", f"{url}: more than {REDIRECTS} redirects")

    def _get(self, url: str, deadline: float) -> bytes | str:
        """The body, or where the site says it is."""
        address = self._resolve(url)
        try:
            parts = httpx.URL(url)
            request = self._client.build_request(
                "GET",
                parts.copy_with(host=address),
                headers={"Host": parts.netloc.decode("ascii")},
                extensions={
                    "sni_hostname": parts.host
                },  # the certificate must be the name's, not the address's
            )
            response = self._client.send(request, stream=True)
            try:
                return self._read(url, response, deadline)
            finally:
                response.close()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnreadableImageError(
                "unreachable", f"{url}: {str(error) or type(error).__name__}"
            ) from error

    def _read(self, url: str, response: httpx.Response, deadline: float) -> bytes | str:
        if response.status_code in REDIRECT_STATUS and "location" in response.headers:
            return str(response.headers["location"])
        if response.status_code != httpx.codes.OK:
            raise UnreadableImageError("unreachable", f"{url}: answered {response.status_code}")
        directives = response.headers.get("x-robots-tag", "").lower().replace(":", ",").split(",")
        if OPT_OUT & {directive.strip() for directive in directives}:
            raise UnreadableImageError("opted_out", f"{url}: X-Robots-Tag asks not to be used for this")
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if time.monotonic() > deadline:
                raise UnreadableImageError("unreachable", f"{url}: not whole after {self._timeout_s:g} s")
            if len(body) > self._limits.max_bytes:
                raise UnreadableImageError(
                    "too_many_bytes", f"{url}: more than the {self._limits.max_bytes} bytes that are allowed"
                )
        return bytes(body)

    def _resolve(self, url: str) -> str:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise UnreadableImageError("unreachable", f"{url!r}: {error}") from error
        if parts.scheme not in ("http", "https") or not host:
            raise UnreadableImageError("unreachable", f"{url!r}: expected an http or https URL")
        try:
            found = socket.getaddrinfo(host, port or parts.scheme, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise UnreadableImageError("unreachable", f"{url}: {host!r} is not known ({error})") from error
        addresses = [str(entry[4][0]) for entry in found]
        if not self._allow_private and not all(map(is_public, addresses)):
            raise UnreadableImageError("forbidden_address", f"{url}: {host!r} is not a public address")
        return addresses[0]


def is_public(address: str) -> bool:
    """Reachable by anyone: not loopback, private, link-local, shared, multicast or reserved."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv4Address):
        return parsed.is_global and not parsed.is_multicast
    inner = parsed.ipv4_mapped or parsed.sixtofour
    if parsed in NAT64:
        inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
    if inner is not None:
        return is_public(str(inner))
    is_old = parsed.is_site_local or parsed.is_reserved  # fec0::/10, ::a.b.c.d
    return parsed.is_global and not parsed.is_multicast and not is_old
