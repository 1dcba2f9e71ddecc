from __future__ import annotations

from hypothesis import HealthCheck, settings

# How long an example takes is the machine's business, which may be busy.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
