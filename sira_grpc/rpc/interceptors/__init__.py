"""What every call passes, outermost first.

It is metrics, errors, drain, authenticate, expire, authorize, limits, fencing, the age of the view, and validate.

Tracing, which is outermost of all, is OpenTelemetry's own gRPC interceptor: see rpc/tracing.py.
"""

from __future__ import annotations

from sira_grpc.rpc.interceptors.accept_forwarded import AcceptForwarded
from sira_grpc.rpc.interceptors.access import AccessRules
from sira_grpc.rpc.interceptors.authenticate import Authenticate, AuthenticateSvids
from sira_grpc.rpc.interceptors.authorize import AnonymousRules, Authorize, Authorizer
from sira_grpc.rpc.interceptors.drain import Drain
from sira_grpc.rpc.interceptors.errors import Errors
from sira_grpc.rpc.interceptors.expire import Expire
from sira_grpc.rpc.interceptors.fencing import Fences, Fencing
from sira_grpc.rpc.interceptors.interceptor import Interceptor
from sira_grpc.rpc.interceptors.limits import Limits
from sira_grpc.rpc.interceptors.metrics import Metrics
from sira_grpc.rpc.interceptors.validate import Validate
from sira_grpc.rpc.interceptors.view_age import ViewAge

__all__ = [
    "AcceptForwarded",
    "AccessRules",
    "AnonymousRules",
    "Authenticate",
    "AuthenticateSvids",
    "Authorize",
    "Authorizer",
    "Drain",
    "Errors",
    "Expire",
    "Fences",
    "Fencing",
    "Interceptor",
    "Limits",
    "Metrics",
    "Validate",
    "ViewAge",
]
