"""Diners: they bind the number on their slip, wait to be called, and collect."""

import asyncio
import secrets
import time
from random import Random
from typing import Any, Protocol

from simulators.rush.desk import Desk
from simulators.rush.ears import TicketEar, id_of
from simulators.rush.ledger import Ledger
from simulators.rush.line import Line
from simulators.rush.links import Pace, RefusedError
from simulators.rush.old import OldSession
from simulators.rush.slip import Slip
from simulators.rush.tills import ticket_of

GRANT_SHARE = 0.4
POLL_S = 2.5
LOOK_EVERY_S = 0.25


class Phone(Protocol):
    """The diner's side of one visit."""

    async def wake(self) -> None: ...

    async def bind(self, slip: Slip, number: int, note: str) -> None: ...

    async def hears(self, slip: Slip, within_s: float) -> bool: ...

    async def collect(self, slip: Slip) -> bool: ...

    def drop(self, away_s: float) -> None: ...

    async def leave(self) -> None: ...


class ModernPhone:
    """A mini-program of today; its socket is gone whenever it goes to the background."""

    def __init__(
        self, base_url: str, desk: Desk, ledger: Ledger, rng: Random, *, openid: str
    ) -> None:
        self._openid = openid
        self._desk = desk
        self._ledger = ledger
        self._rng = rng
        self._line = Line(base_url, self._sign_in, ledger, rng, name=openid)
        self._ear: TicketEar | None = None
        self._is_measured = False

    async def wake(self) -> None:
        self._ear, self._is_measured = None, False
        self._line.start()
        await self._line.ready()

    async def bind(self, slip: Slip, number: int, note: str) -> None:
        wish: dict[str, Any] = {"stall_id": slip.stall_id, "number": number, "note": note}
        if self._rng.random() < GRANT_SHARE:
            wish["grant"] = await self._desk.grant(self._openid)
        wish["key"] = secrets.token_hex(12)
        ticket_id = id_of(ticket_of(await self._line.command("ticket.follow", **wish)))
        if ticket_id is None or slip.ticket_id not in (None, ticket_id):
            self._ledger.violate(f"{slip.label} was bound as ticket {ticket_id}")
            raise RefusedError("bound_to_another_ticket")
        slip.ticket_id = ticket_id
        self._ear = TicketEar(ticket_id, self._ledger, self._line.ack)
        self._line.subscribe(self._ear)

    async def hears(self, slip: Slip, within_s: float) -> bool:
        """Whether as many calls are heard as were made; only time on the line counts."""
        ear, left_s = self._ear, within_s
        while ear is not None and ear.calls < max(1, slip.calls_made):
            if not slip.calls_made and (slip.is_over.is_set() or ear.has_ended):
                return True
            ear.news.clear()
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await ear.news.wait()
            except TimeoutError:
                if slip.calls_made and self._line.is_live.is_set():
                    left_s -= LOOK_EVERY_S
            if left_s <= 0:
                return False
        self._measure(slip)
        return True

    async def collect(self, slip: Slip) -> bool:
        """Sellers finish; a diner of today need not do anything. Whether it was ended here."""
        return False

    def drop(self, away_s: float) -> None:
        self._line.drop(away_s)

    async def leave(self) -> None:
        await self._line.close()

    def _measure(self, slip: Slip) -> None:
        """From tap to phone, where the phone was on the line all the time."""
        if not self._is_measured and 0 < self._line.live_since_s < slip.called_at_s:
            self._ledger.heard_within((time.monotonic() - slip.called_at_s) * 1000)
        self._is_measured = True

    async def _sign_in(self) -> str:
        session = await self._desk.sign_in(self._openid, "diner")
        self._ledger.count("sign_ins")
        return str(session["token"])


class OldPhone:
    """A phone of 2017: asks `hungry` again and again, and says `done` itself (mostly)."""

    def __init__(self, session: OldSession, ledger: Ledger, pace: Pace, rng: Random) -> None:
        self._session = session
        self._ledger = ledger
        self._pace = pace
        self._rng = rng

    async def wake(self) -> None:
        """Nothing to do: it signs in with the first query."""

    async def bind(self, slip: Slip, number: int, note: str) -> None:
        await self._session.ask("menu", sellerId=slip.stall_id)
        where = {"sellerId": slip.stall_id, "marchSn": number}
        await self._session.ask("push", **where, noteContent=note)

    async def hears(self, slip: Slip, within_s: float) -> bool:
        loop = asyncio.get_running_loop()
        deadline_s = None
        while slip.calls_made or not slip.is_over.is_set():
            if await self._is_called(slip):
                self._ledger.count("heard_by_asking")
                return True
            if slip.calls_made and deadline_s is None:
                deadline_s = loop.time() + within_s
            if deadline_s is not None and loop.time() >= deadline_s:
                return False
            await self._pace.wait(POLL_S)
        return True

    async def collect(self, slip: Slip) -> bool:
        if self._rng.random() < 0.3:
            return False
        self._ledger.ending(slip.stall_id, slip.number)
        await self._session.ask("done", sellerId=slip.stall_id, marchSn=slip.number)
        self._ledger.count("finished_by_diner")
        return True

    def drop(self, away_s: float) -> None:
        self._session.drop()

    async def leave(self) -> None:
        await self._session.close()

    async def _is_called(self, slip: Slip) -> bool:
        try:
            await self._session.ask("hungry", sellerId=slip.stall_id, marchSn=slip.number)
        except RefusedError as refusal:
            if refusal.code != "Not Ready Yet":
                raise
            return False
        return True
