from __future__ import annotations

from sira_grpc.bus.agenda import Agenda, earliest


class Item:
    def __init__(self, name: str) -> None:
        self.name = name
        self.moment: float | None = None


def names(agenda: Agenda[Item], now: float) -> list[str]:
    return [item.name for item in agenda.pop(now)]


def test_items_come_in_the_order_of_their_moments_and_then_of_adding() -> None:
    agenda: Agenda[Item] = Agenda()
    for name, moment in (("c", 3.0), ("a", 1.0), ("b", 1.0), ("d", 4.0)):
        agenda.add(Item(name), moment)
    assert agenda.first() == 1.0
    assert names(agenda, 0.5) == []
    assert names(agenda, 3.0) == ["a", "b", "c"]
    assert agenda.first() == 4.0


def test_what_was_moved_comes_once_at_its_last_moment() -> None:
    agenda: Agenda[Item] = Agenda()
    later, earlier = Item("later"), Item("earlier")
    agenda.add(later, 1.0)
    agenda.add(earlier, 9.0)
    agenda.add(later, 5.0)
    agenda.add(earlier, 2.0)
    assert agenda.first() == 2.0
    assert names(agenda, 4.0) == ["earlier"]
    assert names(agenda, 10.0) == ["later"]
    assert agenda.first() is None


def test_what_was_called_off_does_not_come() -> None:
    agenda: Agenda[Item] = Agenda()
    off, kept = Item("off"), Item("kept")
    agenda.add(off, 1.0)
    agenda.add(kept, 2.0)
    off.moment = None
    assert agenda.first() == 2.0
    assert names(agenda, 2.0) == ["kept"]
    assert kept.moment is None


def test_items_may_be_added_while_others_come() -> None:
    agenda: Agenda[Item] = Agenda()
    agenda.add(Item("a"), 1.0)
    agenda.add(Item("c"), 3.0)
    come = []
    for item in agenda.pop(3.0):
        come.append(item.name)
        if item.name == "a":
            agenda.add(Item("b"), 2.0)
    assert come == ["a", "b", "c"]


def test_it_does_not_grow_with_what_is_gone() -> None:
    agenda: Agenda[Item] = Agenda()
    kept = [Item(str(number)) for number in range(10)]
    for number in range(10_000):
        gone = Item("gone")
        agenda.add(gone, 1e9)
        gone.moment = None
        agenda.add(kept[number % 10], float(number))
    assert len(agenda) < 200
    assert names(agenda, 10_000.0) == [item.name for item in kept]


def test_the_earliest_of_moments_is_that_of_those_there_are() -> None:
    assert earliest(None, 2.0, 1.0) == 1.0
    assert earliest(None, None) is None
