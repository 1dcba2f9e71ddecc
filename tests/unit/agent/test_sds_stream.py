"""Both variants of a stream of secrets, message by message."""

from __future__ import annotations

import logging

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.rpc.status_pb2 import Status

from sira_grpc.agent import sds_messages
from sira_grpc.agent.sds_stream import MAX_NAMES, TYPE_URL, DeltaStream, Offer, StateStream
from sira_grpc.errors import InvalidField, PermissionDenied

DEFAULTS = ("identity", "trust")


def offer(chain: str = "one", roots: str = "one", **others: bytes | None) -> dict[str, bytes | None]:
    return {
        "identity": sds_messages.certificate("identity", chain.encode(), b"key"),
        "trust": sds_messages.roots("trust", roots.encode()),
        **others,
    }


class State:
    """A client that asks for the state of the world."""

    def __init__(self) -> None:
        self.stream = StateStream(DEFAULTS)
        self.offer: Offer = offer()
        self.last = DiscoveryResponse()

    def ask(self, *names: str, nonce: str = "", error: str = "", type_url: str = TYPE_URL) -> None:
        detail = Status(code=3, message=error) if error else None
        request = DiscoveryRequest(type_url=type_url, resource_names=names, response_nonce=nonce, error_detail=detail)
        self.stream.receive(request, self.offer)

    def ack(self, *names: str) -> None:
        self.ask(*names, nonce=self.last.nonce)

    def got(self) -> list[str]:
        """The names in the next response; empty if there is none."""
        data = self.stream.response(self.offer)
        if data is None:
            return []
        self.last = DiscoveryResponse.FromString(data)
        assert self.last.type_url == TYPE_URL
        secrets = [Secret.FromString(resource.value) for resource in self.last.resources]
        return [secret.name for secret in secrets]


class Delta:
    """A client that asks for what changes."""

    def __init__(self) -> None:
        self.stream = DeltaStream(DEFAULTS)
        self.offer: Offer = offer()
        self.last = DeltaDiscoveryResponse()

    def ask(
        self,
        *subscribe: str,
        unsubscribe: tuple[str, ...] = (),
        nonce: str = "",
        error: str = "",
        versions: dict[str, str] | None = None,
    ) -> None:
        request = DeltaDiscoveryRequest(
            type_url=TYPE_URL,
            resource_names_subscribe=subscribe,
            resource_names_unsubscribe=unsubscribe,
            response_nonce=nonce,
            error_detail=Status(code=3, message=error) if error else None,
            initial_resource_versions=versions,
        )
        self.stream.receive(request, self.offer)

    def got(self) -> list[str]:
        data = self.stream.response(self.offer)
        if data is None:
            return []
        self.last = DeltaDiscoveryResponse.FromString(data)
        assert not self.last.removed_resources
        return [resource.name for resource in self.last.resources]


def test_nothing_is_sent_before_it_is_asked_for() -> None:
    assert State().got() == []
    assert Delta().got() == []


def test_the_state_is_what_was_asked_for() -> None:
    client = State()
    client.ask("trust", "identity", "trust")
    assert client.got() == ["identity", "trust"]
    client.ack("trust", "identity")
    assert client.got() == []


def test_who_names_nothing_gets_the_defaults() -> None:
    state, delta = State(), Delta()
    state.ask()
    delta.ask()
    assert state.got() == delta.got() == ["identity", "trust"]
    wild, wild_delta = State(), Delta()
    wild.ask("*")
    wild_delta.ask("*")
    assert wild.got() == wild_delta.got() == ["identity", "trust"]


def test_a_change_is_sent_once_and_what_is_not_asked_for_is_no_change() -> None:
    client = State()
    client.ask("identity")
    assert client.got() == ["identity"]
    first = client.last.version_info
    client.offer = offer(roots="two")
    assert client.got() == []
    client.offer = offer(chain="two")
    assert client.got() == ["identity"]
    assert client.last.version_info != first
    assert client.got() == []


def test_a_version_is_that_of_the_content() -> None:
    one, other = State(), State()
    one.ask("identity", "trust")
    other.ask("trust", "identity")
    one.got()
    other.got()
    assert one.last.version_info == other.last.version_info


def test_more_names_are_answered_although_nothing_changed() -> None:
    client = State()
    client.ask("identity")
    client.got()
    client.ack("identity", "trust")
    assert client.got() == ["identity", "trust"]


def test_a_request_with_a_stale_nonce_counts_for_nothing() -> None:
    client = State()
    client.ask("identity")
    client.got()
    stale = client.last.nonce
    client.offer = offer(chain="two")
    assert client.got() == ["identity"]
    client.ask("identity", "trust", nonce=stale)
    assert client.got() == []


def test_what_is_rejected_is_not_sent_again_until_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    client = State()
    client.ask("identity")
    client.got()
    with caplog.at_level(logging.WARNING):
        client.ask("identity", nonce=client.last.nonce, error="no key\n" + "x" * 10_000)
    assert "an Envoy rejects its secrets: no key" in caplog.text
    assert len(caplog.records[0].getMessage()) < 1100
    assert client.got() == []
    client.offer = offer(chain="two")
    assert client.got() == ["identity"]


def test_what_cannot_be_had_now_is_sent_later() -> None:
    state, delta = State(), Delta()
    state.offer = delta.offer = offer(late=None)
    state.ask("late")
    delta.ask("late", "trust")
    assert state.got() == []
    assert delta.got() == ["trust"]
    state.offer = delta.offer = offer(late=sds_messages.roots("late", b"roots"))
    assert state.got() == delta.got() == ["late"]
    state.offer = delta.offer = offer(late=None)
    assert state.got() == delta.got() == []


def test_an_unknown_secret_is_refused_by_name_and_nothing_changes() -> None:
    state, delta = State(), Delta()
    state.ask("identity")
    delta.ask("identity")
    state.got()
    delta.got()
    for client in (state, delta):
        with pytest.raises(PermissionDenied, match=r"there is no secret 'other' .* there are: identity, trust"):
            client.ask("identity", "other")
        assert client.got() == []


def test_names_are_bounded() -> None:
    names = [f"n{number}" for number in range(MAX_NAMES + 1)]
    for client in (State(), Delta()):
        client.offer = dict.fromkeys(names, b"")
        with pytest.raises(InvalidField, match=f"must be at most {MAX_NAMES}"):
            client.ask(*names)
    delta = Delta()
    delta.offer = dict.fromkeys(names, b"")
    delta.ask(*names[:MAX_NAMES])
    with pytest.raises(InvalidField):
        delta.ask(names[MAX_NAMES])


def test_another_type_is_refused() -> None:
    with pytest.raises(InvalidField, match=r"type_url: must be type\.googleapis\.com/envoy.*Secret"):
        State().ask("identity", type_url="type.googleapis.com/envoy.config.cluster.v3.Cluster")
    client = State()
    client.ask("identity", type_url="")
    assert client.got() == ["identity"]


def test_deltas_bring_what_has_changed_alone() -> None:
    client = Delta()
    client.ask("identity", "trust")
    assert client.got() == ["identity", "trust"]
    client.offer = offer(roots="two")
    assert client.got() == ["trust"]
    assert client.got() == []


def test_who_comes_back_is_sent_what_he_has_not() -> None:
    client = Delta()
    client.ask("identity", "trust")
    client.got()
    known = {resource.name: resource.version for resource in client.last.resources}
    again = Delta()
    again.offer = offer(roots="two")
    again.ask("identity", "trust", versions=known)
    assert again.got() == ["trust"]


def test_who_subscribes_again_is_sent_it_again() -> None:
    client = Delta()
    client.ask("identity", "trust")
    client.got()
    client.ask("trust")
    assert client.got() == ["trust"]


def test_subscriptions_count_on_a_stale_nonce_too() -> None:
    client = Delta()
    client.ask("identity")
    client.got()
    client.ask("trust", nonce="77")
    assert client.got() == ["trust"]


def test_who_has_unsubscribed_is_sent_nothing_more() -> None:
    client = Delta()
    client.ask("identity", "trust")
    client.got()
    client.ask(unsubscribe=("trust", "never"), nonce=client.last.nonce)
    client.offer = offer(chain="two", roots="two")
    assert client.got() == ["identity"]
    client.ask(unsubscribe=("*",))
    client.offer = offer(chain="three")
    assert client.got() == []


def test_an_empty_acknowledgement_is_no_wildcard() -> None:
    client = Delta()
    client.ask("trust")
    client.got()
    client.ask(nonce=client.last.nonce)
    assert client.got() == []


def test_a_rejected_delta_is_logged_and_not_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    client = Delta()
    client.ask("trust")
    client.got()
    with caplog.at_level(logging.WARNING):
        client.ask(nonce=client.last.nonce, error="bad roots")
    assert "bad roots" in caplog.text
    assert client.got() == []
