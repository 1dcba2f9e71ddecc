"""Settings as options: what is written into a message, and what the update mask says of it."""

from __future__ import annotations

import pytest
from sira.bus.v1.subscription_pb2 import Subscription
from sira.bus.v1.topic_pb2 import Topic
from sira.bus.v1.topic_pb2 import WhenFull as WhenFullField

from sira_grpc.cli.bus import subscription_settings, topic_settings
from sira_grpc.cli.bus.setting import fill
from sira_grpc.cli.bus.topic_settings import WhenFull
from sira_grpc.cli.failures import Failure


def test_what_is_given_is_written_and_nothing_else() -> None:
    topic = Topic()
    given = {"max_age": "1d", "max_bytes": "1GiB", "when_full": WhenFull.REFUSE, "dedup": "0", "records_per_second": 5}
    assert fill(topic, topic_settings.SETTINGS, given) == [
        "retention.max_age",
        "retention.max_bytes",
        "retention.when_full",
        "deduplication_window",
        "limits.records_per_second",
    ]
    assert topic.retention.max_age.seconds == 86_400
    assert topic.retention.max_bytes == 1 << 30
    assert topic.retention.when_full == WhenFullField.WHEN_FULL_REFUSE
    assert topic.HasField("deduplication_window")
    assert not topic.deduplication_window.seconds
    assert {field.name for field, _ in topic.ListFields()} == {"retention", "deduplication_window", "limits"}


@pytest.mark.parametrize("compact", [True, False])
def test_compaction_is_there_or_not(compact: bool) -> None:
    topic = Topic()
    assert fill(topic, topic_settings.SETTINGS, {"compact": compact}) == ["compaction"]
    assert topic.HasField("compaction") is compact


def test_every_setting_has_a_field() -> None:
    typed = {"str": "5", "int": 5, "bool": True}
    for message, settings in ((Topic(), topic_settings.SETTINGS), (Subscription(), subscription_settings.SETTINGS)):
        for name, setting in settings.items():
            kind = str(setting.option.__origin__.__args__[0].__name__)
            value = typed.get(kind, WhenFull.DISCARD_OLDEST)
            assert fill(message, settings, {name: value}) == [setting.path]


def test_what_cannot_be_read_names_the_option() -> None:
    with pytest.raises(Failure, match="--compact-min-age: 'soon' is no duration"):
        fill(Topic(), topic_settings.SETTINGS, {"compact_min_age": "soon"})
    with pytest.raises(Failure, match="--max-bytes: 'much' is no size"):
        fill(Topic(), topic_settings.SETTINGS, {"max_bytes": "much"})


def test_when_full_has_all_values() -> None:
    fields = {WhenFullField.Value(f"WHEN_FULL_{value.name}") for value in WhenFull}
    assert fields == {*WhenFullField.values()} - {WhenFullField.WHEN_FULL_UNSPECIFIED}
