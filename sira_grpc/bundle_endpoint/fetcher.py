"""Fetches the bundle documents of other trust domains from their bundle endpoints."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import aiohttp
from cryptography import x509

from sira_grpc.bundle_endpoint.verified_tls import spiffe_context, web_context
from sira_grpc.clock import Clock, SystemClock
from sira_grpc.errors import BundleUnavailable

MAX_BYTES = 256 << 10
MAX_REDIRECTS = 3
_REDIRECTS = {301, 302, 303, 307, 308}
_CHUNK = 16 << 10
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "sira"}

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "its host name cannot be resolved"),
    (aiohttp.ServerDisconnectedError, "the connection was closed without an answer"),
    (aiohttp.ClientPayloadError, "the answer broke off"),
    (aiohttp.ClientResponseError, "the answer is not HTTP"),
)


class BundleFetcher:
    """Fetches by both profiles of the SPIFFE federation standard. Heeds no proxy of the environment.

    Args:
        ca_file: PEM file of the authorities of endpoints with the profile https_web; None means the system's. Read at
            each fetch.
        seconds: how long a fetch may take, redirects and all.
        clock: the time at which X.509-SVIDs must be valid.
    """

    def __init__(self, *, ca_file: Path | None = None, seconds: float = 10.0, clock: Clock | None = None) -> None:
        self._ca_file = ca_file
        self._seconds = seconds
        self._clock = clock or SystemClock()

    async def fetch(self, url: str, *, roots: Sequence[x509.Certificate] | None, identity: str) -> bytes:
        """Returns the document at a URL, at most 256 KiB of whatever the endpoint sends.

        Args:
            url: of the endpoint, https.
            roots: None for the profile https_web. For https_spiffe the root certificates that are known already of the
                trust domain of `identity`.
            identity: SPIFFE ID that the endpoint must have; of no meaning for https_web.

        Raises:
            BundleUnavailable: there is no such endpoint, it is not who it should be, or did not answer with a document;
                says what went wrong.
        """
        timeout = asyncio.timeout(self._seconds)
        try:
            async with timeout:
                if roots is None:
                    context = await asyncio.to_thread(web_context, self._ca_file)
                else:
                    context = spiffe_context(roots, identity, self._clock)
                return await _follow(_checked(url), context, MAX_REDIRECTS if roots is None else 0)
        except _Refused as error:
            reason = str(error)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            reason = f"no answer within {self._seconds:g} s" if timeout.expired() else _reason(error)
        raise BundleUnavailable(f"{url} did not answer with a bundle: {reason}", metadata={"url": url})


class _Refused(Exception):
    """What came is not taken."""


async def _follow(url: str, context: ssl.SSLContext, redirects: int) -> bytes:
    connector = aiohttp.TCPConnector(ssl=context, force_close=True)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(),
        auto_decompress=False,
        headers=_HEADERS,
    ) as session:
        for _ in range(redirects + 1):
            async with session.get(url, allow_redirects=False) as response:
                if response.status not in _REDIRECTS:
                    return await _document(response)
                if not redirects:
                    raise _Refused("it redirects, which the profile https_spiffe does not allow")
                url = _checked(urljoin(url, response.headers.get("Location", "")), redirected=True)
    raise _Refused(f"it redirects more than {redirects} times")


async def _document(response: aiohttp.ClientResponse) -> bytes:
    if response.status != 200:
        raise _Refused(f"HTTP {response.status}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise _Refused("the answer is compressed, which was not asked for")
    document = b""
    async for chunk in response.content.iter_chunked(_CHUNK):
        document += chunk
        if len(document) > MAX_BYTES:
            raise _Refused(f"the answer has more than {MAX_BYTES} bytes")
    return document


def _checked(url: str, *, redirected: bool = False) -> str:
    """Returns a URL that may be fetched from."""
    try:
        usable = url.startswith("https://") and urlsplit(url).hostname and "@" not in urlsplit(url).netloc
    except ValueError:
        usable = False
    if not usable:
        subject = f"it redirects to {url!r}, which" if redirected else "this"
        raise _Refused(f"{subject} is no https URL with a host and without a user")
    return url


def _reason(error: Exception) -> str:
    """What went wrong, in a few words for people."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        return f"its certificate is not trusted: {getattr(cause, 'verify_message', cause)}"
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"no connection: {_failure(error.os_error)}"
    return next((words for kind, words in _REASONS if isinstance(error, kind)), str(error) or type(error).__name__)


def _failure(error: OSError) -> str:
    """Why there is no connection: in the system's words, as asyncio's are for programmers."""
    if error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
