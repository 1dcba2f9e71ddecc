"""Identity, measured: issuing, handshakes, renewals of a fleet, a rotation of the root under load."""
