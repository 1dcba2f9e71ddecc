"""Benchmarks: each measures one subsystem beside its floor and its peers, in one run."""
