"""The requests that the benchmark sends, and the methods it sends them to."""

from __future__ import annotations

from sira.registry.v1 import registry_service_pb2 as registry
from sira.registry.v1 import resolver_service_pb2 as resolver
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.locality_pb2 import Locality

NAMESPACE = "namespaces/default"
REGISTRY = "/sira.registry.v1.RegistryService/"
RESOLVER = "/sira.registry.v1.ResolverService/"
PER_MESSAGE = 400


def service(name: str) -> str:
    """Returns the full name of a service."""
    return f"{NAMESPACE}/services/{name}"


def endpoint(service_name: str, number: int) -> Endpoint:
    """Returns a typical endpoint: a locality, a version, two labels."""
    return Endpoint(
        name=f"{service(service_name)}/endpoints/e{number}",
        addresses=[f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"],
        port=8080,
        locality=Locality(region="eu-west", zone=f"eu-west-{number % 3}"),
        metadata={"team": "checkout", "commit": "3f9a2c1"},
        version="1.4.2",
    )


def register(endpoints: list[Endpoint], *, lease_key: str = "", ttl: int = 3600) -> bytes:
    """Returns a RegisterEndpointsRequest."""
    request = registry.RegisterEndpointsRequest(endpoints=endpoints, lease_key=lease_key, allow_missing_service=True)
    request.lease_ttl.seconds = ttl
    return request.SerializeToString()


def watch(service_name: str) -> bytes:
    """Returns a WatchRequest."""
    return resolver.WatchRequest(service=service(service_name)).SerializeToString()


def resolve(service_name: str) -> bytes:
    """Returns a ResolveRequest of a caller in a zone."""
    request = resolver.ResolveRequest(
        service=service(service_name), locality=Locality(region="eu-west", zone="eu-west-1")
    )
    return request.SerializeToString()


def set_weight(service_name: str, number: int, weight: int) -> bytes:
    """Returns an UpdateEndpointRequest that changes a weight."""
    request = registry.UpdateEndpointRequest(endpoint=Endpoint(name=endpoint(service_name, number).name, weight=weight))
    request.update_mask.paths.append("weight")
    return request.SerializeToString()


def set_port(service_name: str, number: int, port: int) -> bytes:
    """Returns an UpdateEndpointRequest that changes a port."""
    request = registry.UpdateEndpointRequest(endpoint=Endpoint(name=endpoint(service_name, number).name, port=port))
    request.update_mask.paths.append("port")
    return request.SerializeToString()


def delete_service(service_name: str) -> bytes:
    """Returns a DeleteServiceRequest with force."""
    return registry.DeleteServiceRequest(name=service(service_name), force=True).SerializeToString()
