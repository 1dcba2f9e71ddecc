"""Identity: the certificate authority of a trust domain, who may join it, and what it vouches for."""
