"""Fits this process to serving: its limit of open files, and when its garbage is collected."""

from __future__ import annotations

import gc
import resource

COLLECT_EVERY = 50_000
"""Objects by which the youngest generation grows before it is collected. With Python's own 700, a burst of calls is
collected many times, and each full collection walks every endpoint of the registry."""


def fit_for_serving() -> None:
    """Raises the soft limit of open files to the hard one: connections and probes take one each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.set_threshold(COLLECT_EVERY, 20, 20)


def settle() -> None:
    """Takes what is in memory now, which stays for as long as the process, out of every later collection."""
    gc.collect()
    gc.freeze()
