"""Which calls belong to one member, and how a request says to which: the table of what is forwarded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

UnitOf = Callable[[Any], str]
"""Returns the unit of work that a request is about; empty where it names none, which the servicer then refuses."""

TOPICS = "sira.bus.v1.TopicService/"
SUBSCRIPTIONS = "sira.bus.v1.SubscriptionService/"
PUBLISH = "sira.bus.v1.PublishService/"
DEAD_LETTERS = "sira.bus.v1.DeadLetterService/"


def bus_unit(name: str) -> str:
    """Returns `bus/<namespace id>` of `namespaces/{namespace}` or what is below it; empty for another name."""
    collection, _, rest = name.partition("/")
    namespace = rest.partition("/")[0]
    return f"bus/{namespace}" if collection == "namespaces" and namespace else ""


def _name(request: Any) -> str:
    return bus_unit(request.name)


def _parent(request: Any) -> str:
    return bus_unit(request.parent)


def _topic(request: Any) -> str:
    return bus_unit(request.topic)


def _topic_resource(request: Any) -> str:
    return bus_unit(request.topic.name)


def _subscription_resource(request: Any) -> str:
    return bus_unit(request.subscription.name)


def _opening(request: Any) -> str:
    opening = request.open
    return bus_unit(opening.subscription or opening.tail.parent)


ROUTES: Mapping[str, UnitOf] = {
    f"{TOPICS}CreateTopic": _topic_resource,
    f"{TOPICS}GetTopic": _name,
    f"{TOPICS}ListTopics": _parent,
    f"{TOPICS}UpdateTopic": _topic_resource,
    f"{TOPICS}DeleteTopic": _name,
    f"{TOPICS}VerifyTopic": _name,
    f"{PUBLISH}Publish": _topic,
    f"{PUBLISH}PublishFrames": _topic,
    f"{SUBSCRIPTIONS}CreateSubscription": _subscription_resource,
    f"{SUBSCRIPTIONS}GetSubscription": _name,
    f"{SUBSCRIPTIONS}ListSubscriptions": _parent,
    f"{SUBSCRIPTIONS}UpdateSubscription": _subscription_resource,
    f"{SUBSCRIPTIONS}DeleteSubscription": _name,
    f"{SUBSCRIPTIONS}PauseSubscription": _name,
    f"{SUBSCRIPTIONS}ResumeSubscription": _name,
    f"{SUBSCRIPTIONS}SeekSubscription": _name,
    f"{SUBSCRIPTIONS}Subscribe": _opening,
    f"{DEAD_LETTERS}ListDeadLetters": _parent,
    f"{DEAD_LETTERS}GetDeadLetter": _name,
    f"{DEAD_LETTERS}RedriveDeadLetters": _parent,
    f"{DEAD_LETTERS}PurgeDeadLetters": _parent,
}
"""By method, `package.Service/Method`. What is not here is served by whichever member it reaches."""
