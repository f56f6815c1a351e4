"""Delivers the outbox: claims what is due, hands it to its kind's deliverer, notes the outcome."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from accounts.messages import Dead, Retry
from sql import outbox
from sql.database import Database
from sql.outbox import Parcel
from sql.types import Millis

log = logging.getLogger("callme.outbox")

Deliver = Callable[[dict[str, Any]], Awaitable[object]]

# Longer than the slowest delivery (an outside call ends after 5 s) of a whole claim.
LEASE_S = 180
# The vendors' own rhythm, then the parcel is a person's: after 15, 30, 60 s, and three more.
PAUSES_S = (15, 30, 60, 300, 1800)


class Outbox:
    """deliverers: kind → what delivers it. They answer None or Delivered, Retry or Dead."""

    def __init__(
        self,
        db: Database,
        deliverers: Mapping[str, Deliver],
        *,
        now: Callable[[], Millis],
        runner: str,
    ) -> None:
        self._db = db
        self._deliverers = deliverers
        self._now = now
        self._runner = runner
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
            await self._db.write(outbox.delivered, parcel, self._runner)

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

    async def _retry(self, parcel: Parcel, reason: str) -> None:
        if parcel.attempts > len(PAUSES_S):
            await self._bury(parcel, f"{reason} (after {parcel.attempts} attempts)")
            return
        due_at = self._now() + PAUSES_S[parcel.attempts - 1] * 1000
        await self._db.write(outbox.retry, parcel, self._runner, due_at=due_at, error=reason)

    async def _bury(self, parcel: Parcel, reason: str) -> None:
        self.dead += 1
        log.warning("%s %d is given up: %s", parcel.kind, parcel.id, reason)
        await self._db.write(outbox.dead, parcel, self._runner, reason)
