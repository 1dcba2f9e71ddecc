"""`sira bootstrap`: what a client of xDS is started with, so that it takes its configuration from a kernel."""

from __future__ import annotations

from sira_grpc.cli.bootstrap.command import bootstrap

__all__ = ["bootstrap"]
