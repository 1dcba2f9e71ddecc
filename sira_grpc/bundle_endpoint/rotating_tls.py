"""TLS of a server whose certificate changes while it runs: each handshake shows the one that is there right now."""

from __future__ import annotations

import logging
import os
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

CertificateSource = Callable[[], tuple[bytes, bytes]]
"""Returns the certificate and its intermediates, and its private key, both PEM. Called at each handshake, on the event
loop: it must neither wait nor read a disk."""


class RotatingTls:
    """Gives a server its context, which is one and the same for as long as it runs.

    Clients cannot resume a session: that would spare them a look at the new certificate.

    Args:
        source: where the certificate comes from.

    Attributes:
        context: TLS 1.3, HTTP/1.1, no client certificates.
    """

    def __init__(self, source: CertificateSource) -> None:
        self._source = source
        self._loaded: tuple[bytes, bytes] | None = None
        self._current = self.context = _context()
        self.context.sni_callback = self._show

    def load(self) -> None:
        """Loads the certificate, if it is another one than before.

        Raises:
            OSError: OpenSSL cannot use it, or its key is another one's.
        """
        wanted = self._source()
        if wanted != self._loaded:
            made = _context()
            with _unnamed_file(b"\n".join(wanted)) as path:
                made.load_cert_chain(path, password="")  # so that nobody is asked for one on the terminal
            self._current, self._loaded = made, wanted

    def _show(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """OpenSSL calls this in each handshake before it picks a certificate, also where the client names no server."""
        try:
            self.load()
        except OSError:
            log.exception("the bundle endpoint's new certificate cannot be used; the one before is shown")
        connection.context = self._current


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = 0
    return context


@contextmanager
def _unnamed_file(content: bytes) -> Iterator[str]:
    """A path that content can be read from: ssl takes keys from files only, and a key must not reach a disk."""
    if sys.platform == "linux":
        with os.fdopen(os.memfd_create("certificate"), "wb") as memory:
            memory.write(content)
            memory.flush()
            yield f"/proc/self/fd/{memory.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as file:  # readable by its owner only, and gone at once
            file.write(content)
            file.flush()
            yield file.name
