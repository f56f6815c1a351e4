"""Delivers the outbox: claims what is due, hands it to its kind's deliverer, notes the outcome."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from accounts.messages import Dead, Retry
from sql import outbox
from sql.database import Database, Tx
from sql.outbox import Parcel
from sql.types import Millis

log = logging.getLogger("callme.outbox")

Deliver = Callable[[dict[str, Any]], Awaitable[object]]

# Longer than the slowest delivery (an outside call ends after 5 s) of a whole claim.
LEASE_S = 180
# The vendors' own rhythm, then the parcel is a person's: after 15, 30, 60 s, and three more.
PAUSES_S = (15, 30, 60, 300, 1800)


class Rhythm(msgspec.Struct, frozen=True, kw_only=True):
    """When a kind is tried again. goes_on: after the last pause ever again, until it arrives or a
    person gives it up. asks_after: at which failed attempt a person is told; 0: at none."""

    pauses_s: tuple[int, ...] = PAUSES_S
    goes_on: bool = False
    asks_after: int = 0


ONCE_IN_A_WHILE: Final = Rhythm()
# A message to a person is of no use tomorrow; an order's outcome is, however long its receiver is
# away. At 0, 15, 45 and 105 s, then it is on the manual list, and goes on slowly.
TENACIOUS: Final = Rhythm(
    pauses_s=(15, 30, 60, 300, 1_800, 7_200, 21_600, 86_400), goes_on=True, asks_after=4
)


def _nobody(*_: object) -> None:
    """Nobody is told."""


class Outbox:
    """deliverers: kind → what delivers it. They answer None or Delivered, Retry or Dead.

    rhythms: of the kinds that have one of their own. asked: called in the transaction in which a
    parcel fails for the `asks_after`th time, or is given up; relieved: in that in which one
    a person was asked about arrives.
    """

    def __init__(
        self,
        db: Database,
        deliverers: Mapping[str, Deliver],
        *,
        now: Callable[[], Millis],
        runner: str,
        rhythms: Mapping[str, Rhythm] | None = None,
        asked: Callable[[Tx, Parcel, str], None] = _nobody,
        relieved: Callable[[Tx, Parcel], None] = _nobody,
    ) -> None:
        self._db = db
        self._deliverers = deliverers
        self._now = now
        self._runner = runner
        self._rhythms = rhythms or {}
        self._asked = asked
        self._relieved = relieved
        self.delivered = 0
        self.dead = 0

    async def deliver_due(self) -> int:
        """Deliver until nothing is due; how many parcels were handled."""
        handled = 0
        while await self._is_due():
            parcels = await self._db.write(outbox.claim, self._runner, lease_s=LEASE_S)
            for parcel in parcels:
                await self._deliver(parcel)
            handled += len(parcels)
            if not parcels:
                break
        return handled

    async def _is_due(self) -> bool:
        due_at = await self._db.read(outbox.next_due)
        return due_at is not None and due_at <= self._now()

    async def _deliver(self, parcel: Parcel) -> None:
        outcome = await self._outcome(parcel)
        if isinstance(outcome, Retry):
            await self._retry(parcel, outcome.reason)
        elif isinstance(outcome, Dead):
            await self._bury(parcel, outcome.reason)
        else:
            self.delivered += 1
            await self._db.write(self._mark_delivered, parcel)

    async def _outcome(self, parcel: Parcel) -> object:
        deliver = self._deliverers.get(parcel.kind)
        if deliver is None:
            return Dead(f"nothing delivers {parcel.kind}")
        try:
            return await deliver(parcel.payload)
        except Exception as error:
            # A deliverer's mistake is this parcel's fate, not the others'.
            log.exception("delivering %s %d failed", parcel.kind, parcel.id)
            return Retry(f"{type(error).__name__}: {error}")

    def _mark_delivered(self, tx: Tx, parcel: Parcel) -> None:
        asks_after = self._rhythm(parcel).asks_after
        if outbox.delivered(tx, parcel, self._runner) and 0 < asks_after < parcel.attempts:
            self._relieved(tx, parcel)

    def _rhythm(self, parcel: Parcel) -> Rhythm:
        return self._rhythms.get(parcel.kind, ONCE_IN_A_WHILE)

    async def _retry(self, parcel: Parcel, reason: str) -> None:
        rhythm = self._rhythm(parcel)
        if parcel.attempts > len(rhythm.pauses_s) and not rhythm.goes_on:
            await self._bury(parcel, f"{reason} (after {parcel.attempts} attempts)")
            return
        await self._db.write(self._put_back, parcel, rhythm, reason)

    def _put_back(self, tx: Tx, parcel: Parcel, rhythm: Rhythm, reason: str) -> None:
        pause_s = rhythm.pauses_s[min(parcel.attempts, len(rhythm.pauses_s)) - 1]
        due_at = tx.now + pause_s * 1000
        is_mine = outbox.retry(tx, parcel, self._runner, due_at=due_at, error=reason)
        if is_mine and parcel.attempts == rhythm.asks_after:
            self._asked(tx, parcel, reason)

    async def _bury(self, parcel: Parcel, reason: str) -> None:
        self.dead += 1
        log.warning("%s %d is given up: %s", parcel.kind, parcel.id, reason)
        await self._db.write(self._mark_dead, parcel, reason)

    def _mark_dead(self, tx: Tx, parcel: Parcel, reason: str) -> None:
        if outbox.dead(tx, parcel, self._runner, reason) and self._rhythm(parcel).asks_after:
            self._asked(tx, parcel, reason)
