"""One diner's visit, from the slip in the hand to the tray (or away without it)."""

import asyncio
import contextlib
from random import Random

from simulators.rush import menu
from simulators.rush.ledger import Ledger
from simulators.rush.links import LinkLostError, Pace, RefusedError
from simulators.rush.phones import Phone
from simulators.rush.slip import Slip

# A call must have reached a phone that is on the line by then; no network here takes longer.
GRACE_S = 6.0
AWAY_SHARE = 0.5
# In the pocket until long after the call: WeChat has to tell the diner.
FORGOTTEN_SHARE = 0.06
WRONG_NUMBER_SHARE = 0.03
NEVER_COLLECTED_SHARE = 0.04


class Visit:
    def __init__(self, phone: Phone, slip: Slip, ledger: Ledger, pace: Pace, rng: Random) -> None:
        self._phone = phone
        self._slip = slip
        self._ledger = ledger
        self._pace = pace
        self._rng = rng

    async def run(self) -> None:
        """To its end; a refusal sends the diner to wait at the counter without a phone."""
        try:
            await self._phone.wake()
            await self._follow()
        except RefusedError as refusal:
            self._ledger.refuse(refusal.code)
            await self._collect_in_person()
        except LinkLostError:
            self._ledger.count("given_up")
            await self._collect_in_person()
        finally:
            await self._phone.leave()

    async def _follow(self) -> None:
        slip, rng = self._slip, self._rng
        await self._pace.wait(rng.uniform(1, 5))
        if rng.random() < WRONG_NUMBER_SHARE:
            await self._mistype()
        await self._phone.bind(slip, slip.number, slip.dish)
        self._ledger.count("bound")
        restless = asyncio.create_task(self._come_and_go())
        try:
            heard = await self._phone.hears(slip, GRACE_S)
            if not heard:
                self._ledger.violate(f"{slip.label} was called and its diner never heard it")
            await self._collect()
        finally:
            restless.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await restless

    async def _collect(self) -> None:
        """Walk up, or never come. Calls made meanwhile must have been heard too."""
        slip, rng = self._slip, self._rng
        if rng.random() < NEVER_COLLECTED_SHARE:
            self._ledger.count("never_collected")
            await slip.is_over.wait()
            return
        await self._pace.wait(rng.uniform(3, 25 if rng.random() < 0.15 else 11))
        if slip.calls_made and not await self._phone.hears(slip, GRACE_S):
            self._ledger.violate(f"{slip.label} was called again and its diner never heard it")
        self._ledger.count("collected")
        if await self._phone.collect(slip):
            slip.is_ended_by_diner = True
        slip.is_collected.set()
        await slip.is_over.wait()

    async def _collect_in_person(self) -> None:
        """Without a phone one stands at the counter and listens."""
        await self._slip.called.wait()
        await self._pace.wait(self._rng.uniform(2, 6))
        self._ledger.count("collected")
        self._slip.is_collected.set()

    async def _mistype(self) -> None:
        """Another number, one that nobody has as far as is known: it must be refused."""
        wrong = (self._slip.number + 48) % 99 + 1
        if self._ledger.is_held(self._slip.stall_id, wrong):
            return
        try:
            await self._phone.bind(self._slip, wrong, menu.note(self._rng))
        except RefusedError:
            self._ledger.count("wrong_numbers_refused")

    async def _come_and_go(self) -> None:
        """A phone in the background loses its socket within seconds: the normal case."""
        rng, speed = self._rng, self._pace.speed
        if rng.random() < FORGOTTEN_SHARE:
            await self._pace.wait(1)
            self._phone.drop(rng.uniform(45, 70) / speed)
            return
        while rng.random() < AWAY_SHARE:
            await self._pace.wait(rng.uniform(4, 20))
            self._phone.drop(rng.uniform(2, 15) / speed)
