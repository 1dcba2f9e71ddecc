"""SPIFFE verifiable identity documents: ids, certificates, tokens and bundles, as pure functions without a network."""
