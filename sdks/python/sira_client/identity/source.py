"""Where identities come from."""

from __future__ import annotations

import grpc

from sira_client.identity.identity import Identity
from sira_client.source import Source


class IdentitySource(Source[Identity]):
    """Gives an identity, and each next one as it is renewed, while anybody is in `async with`.

    One source can serve any number of clients, channels and servers of a process, all on one event loop. A client
    enters it by itself. For a source of your own, derive from this class and write `follow`.
    """

    def channel_credentials(self, *, federated: bool = False) -> grpc.ChannelCredentials:
        """Credentials for a channel of your own, with the identity as it is now: see Identity.channel_credentials."""
        return self.current.channel_credentials(federated=federated)

    def server_credentials(
        self, *, require_client_certificate: bool = True, federated: bool = False
    ) -> grpc.ServerCredentials:
        """Credentials for one port of a server, which shows the identity as it is at each new connection.

        Each port needs credentials of its own.

        Args:
            require_client_certificate: refuse whom no root vouches for.
            federated: also let in whom a root of another trust domain vouches for. gRPC does not look at which root
                vouches for which name: theirs may then vouch for names of this trust domain too.
        """
        shown = self.current

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            """On a thread of gRPC's, at each handshake; None says that nothing has changed."""
            nonlocal shown
            current = self.current
            if current is shown:
                return None
            shown = current
            return current.server_configuration(federated=federated)

        return grpc.dynamic_ssl_server_credentials(
            shown.server_configuration(federated=federated),
            renewed,  # type: ignore[arg-type]  # the stub does not know of None
            require_client_authentication=require_client_certificate,
        )
