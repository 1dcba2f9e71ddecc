"""An order, as the shop sends it and a picker reads it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

TOPIC = "orders"
WORDS = {"one": 1, "two": 2, "three": 3}


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody has ordered.

    Attributes:
        number: of the order, from 1.
        customer: who ordered. It is the key: the orders of one customer keep their order.
        nth: which of the customer's orders it is, from 1.
        quantity: how many, as the customer wrote it.
    """

    number: int
    customer: str
    nth: int
    quantity: str

    def to_payload(self) -> bytes:
        """The payload of its record."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_payload(cls, payload: bytes) -> Order:
        """Reads a payload that to_payload made."""
        return cls(**json.loads(payload))

    def pieces(self, *, words: bool) -> int:
        """How many they are.

        Args:
            words: whether numbers that are written out are understood.

        Raises:
            ValueError: the quantity is no number.
        """
        return WORDS[self.quantity] if words and self.quantity in WORDS else int(self.quantity)
