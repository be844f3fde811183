"""A network in virtual time: what is sent into it comes out late, out of order, twice or never.

Everything follows from the seed, so a scenario repeats exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Bursts:
    """Loss by the model of Gilbert and Elliott: a good state and a bad one.

    Attributes:
        begin: Probability, per packet, that the bad state begins.
        end: Probability, per packet, that it ends; its mean length is the inverse.
        loss: Probability of loss in the bad state.
    """

    begin: float
    end: float
    loss: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Impairment:
    """What a network does to packets. Probabilities are per packet.

    Attributes:
        loss: Probability that one is lost, each by itself.
        bursts: Losses in a row.
        delay_ms: The least delay.
        jitter_ms: On top of that, evenly distributed from 0; packets overtake each other.
        reorder: Probability that one is held back by `reorder_ms`.
        reorder_ms: How long.
        duplicate: Probability that one comes twice, the second within 20 ms of the first.
        drift_ppm: By how much the sender's clock is fast, parts per million.
    """

    loss: float = 0.0
    bursts: Bursts | None = None
    delay_ms: float = 20.0
    jitter_ms: float = 0.0
    reorder: float = 0.0
    reorder_ms: float = 25.0
    duplicate: float = 0.0
    drift_ppm: float = 0.0


@dataclass(frozen=True, slots=True)
class Delivery(Generic[T]):
    """A packet at the far end."""

    at_s: float
    packet: T


class Network:
    """Carries packets. Its state is that of the burst model and of the generator."""

    def __init__(self, impairment: Impairment, seed: int = 1) -> None:
        self._impairment = impairment
        self._random = Random(seed)
        self._is_bad = False

    def carry(self, sent: Iterable[tuple[float, T]]) -> list[Delivery[T]]:
        """Return what arrives, by time.

        Args:
            sent: When by the sender's clock, seconds, and what.
        """
        deliveries = [one for at_s, packet in sent for one in self.send(at_s, packet)]
        return sorted(deliveries, key=lambda delivery: delivery.at_s)

    def send(self, at_s: float, packet: T) -> list[Delivery[T]]:
        """Return the deliveries of one packet: none, one or two, not by time."""
        how = self._impairment
        chance = self._random.random
        if self._is_lost():
            return []
        late_ms = how.delay_ms + how.jitter_ms * chance()
        if chance() < how.reorder:
            late_ms += how.reorder_ms
        first_s = at_s / (1 + how.drift_ppm / 1e6) + late_ms / 1000
        deliveries = [Delivery(first_s, packet)]
        if chance() < how.duplicate:
            deliveries.append(Delivery(first_s + 0.02 * chance(), packet))
        return deliveries

    def _is_lost(self) -> bool:
        bursts = self._impairment.bursts
        if bursts is not None:
            turns = self._random.random() < (bursts.end if self._is_bad else bursts.begin)
            self._is_bad ^= turns
            if self._is_bad and self._random.random() < bursts.loss:
                return True
        return self._random.random() < self._impairment.loss
