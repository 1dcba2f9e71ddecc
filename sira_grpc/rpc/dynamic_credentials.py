"""TLS credentials of the server that change while it runs: gRPC asks for them at each handshake."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from sira_grpc.identity.member import Credentials


def dynamic_credentials(current: Callable[[], Credentials], *, clients: bool) -> grpc.ServerCredentials:
    """Returns credentials for a secure port.

    Args:
        current: returns the credentials as they are. Called on threads of gRPC's.
        clients: callers must show a certificate that the roots verify; otherwise none is asked for, and the roots are
            sent after the chain, so that who joins, and knows the root by its fingerprint, can find it.
    """
    given: list[Credentials] = []

    def configuration(credentials: Credentials) -> grpc.ServerCertificateConfiguration:
        chain = credentials.chain if clients else credentials.chain + credentials.roots
        return grpc.ssl_server_certificate_configuration(
            [(credentials.key, chain)], root_certificates=credentials.roots if clients else None
        )

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        credentials = current()
        if given[0] is credentials:
            return None
        made = configuration(credentials)
        given[0] = credentials
        return made

    first = current()
    given.append(first)
    return grpc.dynamic_ssl_server_credentials(
        configuration(first),
        fetch,  # type: ignore[arg-type]  # None is documented, as "no other than before"
        require_client_authentication=clients,
    )
