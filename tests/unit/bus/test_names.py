"""Names: keys that hold any topic, and patterns."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sira_grpc.bus import names
from sira_grpc.bus.names import Pattern, partition_of
from sira_grpc.store.validation import check_key

NAMESPACE = "namespaces/" + "n" * 63
SEGMENT = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
TOPICS = st.lists(SEGMENT, min_size=1, max_size=8).map(".".join).filter(lambda topic: len(topic) <= 200)
UID = "0123456789abcdef"


@given(TOPICS)
def test_a_topic_has_a_key_that_a_store_takes_and_that_says_which_it_is(topic: str) -> None:
    name = names.topic_name(NAMESPACE, topic)
    key = names.topic_key(name)
    check_key(key)
    assert key.startswith(names.TOPICS)
    assert names.topic_of_key(key) == name


@pytest.mark.parametrize("length", [1, 63, 64, 65, 128, 129, 192, 193, 200])
def test_a_name_of_any_length_is_cut_into_segments(length: int) -> None:
    topic = ".".join(["a" * 60] * 4)[:length].rstrip(".").ljust(length, "b")
    name = names.topic_name("namespaces/n", topic)
    key = names.topic_key(name)
    check_key(key)
    assert key.count("/") == 3 + (length - 1) // 64
    assert names.topic_of_key(key) == name


@given(TOPICS, TOPICS)
def test_two_topics_have_two_keys(one: str, other: str) -> None:
    assume(one != other)
    assert names.topic_key(f"namespaces/n/topics/{one}") != names.topic_key(f"namespaces/n/topics/{other}")


def test_a_dot_and_a_hyphen_are_told_apart() -> None:
    assert names.topic_key("namespaces/n/topics/a.b-c") == "bus/topics/n/a_b-c"


def test_a_name_says_where_it_belongs() -> None:
    assert names.namespace_of("namespaces/n/topics/orders.eu") == "namespaces/n"
    assert names.namespace_of("namespaces/n/subscriptions/s") == "namespaces/n"
    assert names.short("namespaces/n/topics/orders.eu") == "orders.eu"
    assert names.topic_name("namespaces/n", "orders.eu") == "namespaces/n/topics/orders.eu"
    assert names.subscription_name("namespaces/n", "s") == "namespaces/n/subscriptions/s"


def test_a_subscription_has_a_key_that_says_which_it_is() -> None:
    name = names.subscription_name(NAMESPACE, "s" * 63)
    check_key(names.subscription_key(name))
    assert names.subscription_of_key(names.subscription_key(name)) == name


def test_logs_have_names_that_a_store_takes_and_none_is_another() -> None:
    other = UID[::-1]
    logs = [
        *(of(UID, 255) for of in (names.log_of, names.marks_of, names.scheduled_of, names.released_of)),
        names.settlements_of(other, UID, 255),
        names.dead_of(other),
        names.dead_removed_of(other),
    ]
    for log in logs:
        check_key(log, "partition")
    assert len(set(logs)) == len(logs)
    assert names.log_of(UID, 3) == f"bus/{UID}/3/log"
    assert names.settlements_of(other, UID, 3) == f"bus/{other}/{UID}/3"


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("orders", ["orders"], ["orders.eu", "order", "orders-eu"]),
        ("orders.*", ["orders.eu", "orders.us"], ["orders", "orders.eu.created", "bills.eu"]),
        ("orders.>", ["orders.eu", "orders.eu.created"], ["orders", "orders-eu", "bills.orders.eu"]),
        ("*.eu", ["orders.eu", "bills.eu"], ["eu", "orders.us", "a.b.eu"]),
        ("*", ["orders", "a-b"], ["orders.eu"]),
        (">", ["orders", "orders.eu.created"], []),
        ("*.>", ["orders.eu", "orders.eu.created"], ["orders"]),
        ("a.*.c.>", ["a.b.c.d", "a.b.c.d.e"], ["a.b.c", "a.c.d", "a.b.x.d"]),
    ],
)
def test_a_pattern_means_topics(pattern: str, fitting: list[str], others: list[str]) -> None:
    assert [topic for topic in fitting + others if Pattern(pattern).matches(topic)] == fitting


@given(
    st.lists(st.sampled_from(["a", "b", "*"]), max_size=4),
    st.booleans(),
    st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=6).map(".".join),
)
def test_a_pattern_means_what_the_expression_of_it_means(segments: list[str], rest: bool, topic: str) -> None:
    assume(segments or rest)
    expression = r"\.".join(segments + [".+"] * rest).replace("*", "[^.]+")
    wanted = re.fullmatch(expression, topic) is not None
    assert Pattern(".".join(segments + [">"] * rest)).matches(topic) == wanted


def test_patterns_are_values() -> None:
    assert Pattern("a.*") == Pattern("a.*")
    assert Pattern("a.*") != Pattern("a.>")
    assert len({Pattern("a"), Pattern("a"), Pattern("b")}) == 2
    assert repr(Pattern("a.>")) == "Pattern('a.>')"


def test_the_partition_of_a_key_is_what_every_client_works_out() -> None:
    # CRC-32 of "123456789", the check value of the algorithm.
    assert partition_of(b"123456789", 2**32) == 0xCBF43926
    assert partition_of(b"", 7) == 0
    assert partition_of(b"123456789", 16) == 6
