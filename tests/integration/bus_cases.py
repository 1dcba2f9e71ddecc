"""What each RPC of the bus must refuse: one entry for every RPC, found by its full name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.message import Message
from sira.bus.v1 import dead_letter_service_pb2 as dead
from sira.bus.v1 import publish_service_pb2 as publish
from sira.bus.v1 import subscription_service_pb2 as subscription
from sira.bus.v1 import topic_service_pb2 as topic
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.subscription_pb2 import StartPosition, Subscription
from sira.bus.v1.topic_pb2 import Topic

from tests.integration.bus_kernel import subscription_name, topic_name
from tests.integration.bus_stream_cases import publishing, subscribing
from tests.integration.bus_subscription_cases import dead_letters, subscriptions
from tests.integration.bus_topic_cases import topics
from tests.integration.bus_world import EMPTY, IDLE, ORDERS, REPEATED, WORK, World
from tests.integration.registry_world import DEFAULT, Case


def cases(world: World) -> Mapping[str, list[Case]]:
    """What must be refused, by the full name of the RPC."""
    services: Mapping[str, Iterable[tuple[str, list[Case]]]] = {
        "TopicService": topics(world),
        "PublishService": publishing(),
        "SubscriptionService": [*subscriptions(world), *subscribing()],
        "DeadLetterService": dead_letters(world),
    }
    return {f"sira.bus.v1.{service}/{name}": given for service, rpcs in services.items() for name, given in rpcs}


def accepted(world: World) -> Mapping[str, Message]:
    """A request that each RPC takes: what is wrong with the others is what is different in them."""
    every: dict[str, Message] = {
        "CreateTopic": topic.CreateTopicRequest(topic=Topic(name=topic_name("new"))),
        "GetTopic": topic.GetTopicRequest(name=ORDERS),
        "ListTopics": topic.ListTopicsRequest(parent=DEFAULT, page_token=world.page_tokens["topics"]),
        "UpdateTopic": topic.UpdateTopicRequest(topic=Topic(name=EMPTY, description="d")),
        "DeleteTopic": topic.DeleteTopicRequest(name=EMPTY),
        "VerifyTopic": topic.VerifyTopicRequest(name=ORDERS),
        "Publish": publish.PublishRequest(topic=ORDERS, records=[Record(payload=b"x")], partition=1),
        "PublishFrames": REPEATED,
        "CreateSubscription": subscription.CreateSubscriptionRequest(
            subscription=Subscription(name=subscription_name("new"), topics=["orders", "other.>"])
        ),
        "GetSubscription": subscription.GetSubscriptionRequest(name=WORK),
        "ListSubscriptions": subscription.ListSubscriptionsRequest(
            parent=DEFAULT, page_token=world.page_tokens["subscriptions"]
        ),
        "UpdateSubscription": subscription.UpdateSubscriptionRequest(
            subscription=Subscription(name=IDLE, topics=["orders"], description="d")
        ),
        "DeleteSubscription": subscription.DeleteSubscriptionRequest(name=IDLE),
        "PauseSubscription": subscription.PauseSubscriptionRequest(name=IDLE),
        "ResumeSubscription": subscription.ResumeSubscriptionRequest(name=IDLE),
        "SeekSubscription": subscription.SeekSubscriptionRequest(
            name=WORK, position=StartPosition(earliest=StartPosition.Earliest())
        ),
        "Subscribe": subscription.SubscribeRequest(open=subscription.OpenSubscription(subscription=WORK)),
        "ListDeadLetters": dead.ListDeadLettersRequest(parent=WORK, page_token=world.page_tokens["letters"]),
        "GetDeadLetter": dead.GetDeadLetterRequest(name=world.letter),
        "RedriveDeadLetters": dead.RedriveDeadLettersRequest(parent=WORK, limit=1),
        "PurgeDeadLetters": dead.PurgeDeadLettersRequest(parent=WORK, limit=1),
    }
    return every
