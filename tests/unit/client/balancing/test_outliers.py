from __future__ import annotations

from sira.registry.v1.outlier_detection_pb2 import FailurePercentage, OutlierDetection, SuccessRate
from sira_client.balancing.outliers import OutlierDetector, interval_of

SECOND = 10**9
FIVE = "abcde"


def detector(names: str = FIVE) -> OutlierDetector:
    made = OutlierDetector()
    made.keep(names)
    return made


def policy(**fields: object) -> OutlierDetection:
    """By failures, of all that had a call, and as many as need be."""
    made = OutlierDetection(max_ejection_percent=100, failure_percentage=FailurePercentage(request_volume=1))
    made.MergeFrom(OutlierDetection(**fields))  # type: ignore[arg-type]  # they are its own
    return made


def calls(found: OutlierDetector, failed: dict[str, int], each: int = 100, names: str = FIVE) -> None:
    """So many calls of each, so many of them failed."""
    for name in names:
        for number in range(each):
            found.count(name, succeeded=number >= failed.get(name, 0))


def test_who_fails_too_often_is_left_out() -> None:
    found = detector()
    calls(found, {"a": 85, "b": 84})
    assert found.judge(policy(), 0)
    assert found.ejected == {"a"}
    assert not found.judge(policy(), SECOND)


def test_it_is_by_the_interval() -> None:
    found = detector()
    calls(found, {"a": 100})
    found.judge(policy(failure_percentage=FailurePercentage(threshold=100)), 0)
    calls(found, {"b": 100})
    found.judge(policy(), SECOND)
    assert found.ejected == {"a", "b"}
    quiet = detector()
    calls(quiet, {"a": 100}, each=60)
    quiet.judge(policy(failure_percentage=FailurePercentage(request_volume=61)), 0)
    calls(quiet, {"a": 10})
    quiet.judge(policy(), SECOND)
    assert quiet.ejected == set()


def test_it_takes_enough_endpoints_with_enough_calls() -> None:
    few = detector("abcd")
    calls(few, {"a": 100}, names="abcd")
    assert not few.judge(policy(), 0)
    found = detector()
    calls(found, {"a": 49}, each=49)
    assert not found.judge(OutlierDetection(failure_percentage=FailurePercentage()), 0)
    calls(found, {"a": 50}, each=50)
    assert found.judge(OutlierDetection(failure_percentage=FailurePercentage()), 0)


def test_only_so_many_are_left_out_and_one_at_least() -> None:
    found = detector()
    calls(found, dict.fromkeys(FIVE, 100))
    found.judge(policy(max_ejection_percent=40), 0)
    assert len(found.ejected) == 2
    one = detector()
    calls(one, dict.fromkeys(FIVE, 100))
    default = policy()
    default.max_ejection_percent = 0
    one.judge(default, 0)
    assert len(one.ejected) == 1


def test_who_succeeds_far_less_than_the_others_is_left_out() -> None:
    names = "abcdefghij"
    found = detector(names)
    calls(found, {"a": 30, "b": 1}, names=names)
    by_rate = OutlierDetection(success_rate=SuccessRate(), max_ejection_percent=100)
    assert found.judge(by_rate, 0)
    assert found.ejected == {"a"}
    calm = detector(names)
    calls(calm, dict.fromkeys(names, 50), names=names)
    assert not calm.judge(by_rate, 0), "where all fail alike nobody stands out"


def test_the_factor_says_how_far() -> None:
    names = "abcdefghij"
    for factor, out in ((1900, {"a"}), (3100, set())):
        found = detector(names)
        calls(found, {"a": 100}, names=names)
        found.judge(OutlierDetection(success_rate=SuccessRate(stdev_factor=factor), max_ejection_percent=100), 0)
        assert found.ejected == out


def test_they_come_back_and_are_out_longer_each_time() -> None:
    found, by = detector(), policy()
    by.base_ejection_time.seconds = 10
    by.max_ejection_time.seconds = 25
    now = 0
    for length in (10, 20, 25, 25):
        calls(found, {"a": 100})
        assert found.judge(by, now)
        assert not found.judge(by, now + length * SECOND - 1)
        assert found.judge(by, now + length * SECOND)
        assert found.ejected == set()
        now += length * SECOND


def test_good_conduct_shortens_the_next_time() -> None:
    found, by = detector(), policy()
    by.base_ejection_time.seconds = 10
    for now in (0, 100 * SECOND):
        calls(found, {"a": 100})
        found.judge(by, now)
        found.judge(by, now + 50 * SECOND)
    found.judge(by, 200 * SECOND)
    found.judge(by, 210 * SECOND)
    calls(found, {"a": 100})
    assert found.judge(by, 300 * SECOND)
    assert found.judge(by, 310 * SECOND), "out for 10 seconds again"


def test_the_base_is_the_least_of_the_longest() -> None:
    found, by = detector(), policy()
    by.base_ejection_time.seconds = 60
    by.max_ejection_time.seconds = 5
    calls(found, {"a": 100})
    found.judge(by, 0)
    assert not found.judge(by, 59 * SECOND)
    assert found.judge(by, 60 * SECOND)


def test_who_is_gone_is_forgotten() -> None:
    found = detector()
    calls(found, {"a": 100})
    found.judge(policy(), 0)
    found.keep("bcdef")
    assert found.ejected == set()
    found.count("a", succeeded=False)
    found.keep(FIVE)
    assert found.ejected == set()


def test_nobody_is_judged_where_there_is_nobody() -> None:
    found = OutlierDetector()
    assert not found.judge(policy(success_rate=SuccessRate()), 0)


def test_the_interval() -> None:
    assert interval_of(OutlierDetection()) == 10
    by = OutlierDetection()
    by.interval.FromMilliseconds(1500)
    assert interval_of(by) == 1.5
