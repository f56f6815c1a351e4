"""Sellers: one verb a tap, in today's protocol or in the old dialect."""

import asyncio
import contextlib
import secrets
import time
from random import Random
from typing import Any, Protocol

from simulators.rush.desk import Desk
from simulators.rush.ears import StallEar, id_of, tickets_in
from simulators.rush.ledger import Ledger
from simulators.rush.line import Line
from simulators.rush.links import Pace, RefusedError
from simulators.rush.old import OldSession
from simulators.rush.slip import Slip

# The old dialect has no keys: two taps within 1.5 s are one wish, so two wishes keep this apart.
APART_S = 1.8
TAP_WINDOW_S = 1.2


class Till(Protocol):
    """The stall's side. Every verb raises RefusedError or LinkLostError."""

    stall_id: int

    async def open(self) -> None: ...

    async def issue(self, dish: str, *, twice: bool) -> Slip: ...

    async def call(self, slip: Slip, *, twice: bool) -> None: ...

    async def recall(self, slip: Slip) -> None: ...

    async def no_show(self, slip: Slip) -> None: ...

    async def finish(self, slip: Slip) -> None: ...

    async def tidy(self) -> None: ...

    def drop(self, away_s: float) -> None: ...

    async def close(self) -> None: ...


class ModernTill:
    """A seller's phone on /api/v1/ws, which also listens to its stall as staff."""

    def __init__(
        self, base_url: str, desk: Desk, ledger: Ledger, rng: Random, *, stall_id: int
    ) -> None:
        self.stall_id = stall_id
        self._openid = f"demo-seller-{stall_id}"
        self._desk = desk
        self._ledger = ledger
        self._line = Line(base_url, self._sign_in, ledger, rng, name=self._openid)

    async def open(self) -> None:
        self._line.start()
        await self._line.ready()
        self._line.subscribe(StallEar(self.stall_id, self._ledger, staff=True))

    async def issue(self, dish: str, *, twice: bool) -> Slip:
        wish = {"stall_id": self.stall_id, "key": secrets.token_hex(12)}
        answers = await self._tap("ticket.issue", twice=twice, **wish)
        tickets = [ticket_of(answer) for answer in answers]
        if len({(id_of(t), t["number"]) for t in tickets}) > 1:
            self._ledger.violate(f"one key gave two tickets at stall {self.stall_id}: {tickets}")
        return Slip(self.stall_id, int(tickets[0]["number"]), id_of(tickets[0]), dish)

    async def call(self, slip: Slip, *, twice: bool) -> None:
        await self._line.ready()
        slip.called_at_s = time.monotonic()
        await self._tap("ticket.call", twice=twice, **self._about(slip))

    async def recall(self, slip: Slip) -> None:
        await self._tap("ticket.recall", **self._about(slip))

    async def no_show(self, slip: Slip) -> None:
        await self._tap("ticket.no_show", **self._about(slip))

    async def finish(self, slip: Slip) -> None:
        await self._tap("ticket.finish", **self._about(slip))

    async def tidy(self) -> None:
        """Today's protocol finishes numbers one by one; there is nothing else to clear."""

    def drop(self, away_s: float) -> None:
        self._line.drop(away_s)

    async def close(self) -> None:
        await self._line.close()

    async def _tap(self, kind: str, *, twice: bool = False, **fields: Any) -> list[dict[str, Any]]:
        if twice:
            return await self._line.command_twice(kind, **fields)
        return [await self._line.command(kind, **fields)]

    def _about(self, slip: Slip) -> dict[str, Any]:
        return {"ticket_id": slip.ticket_id, "key": secrets.token_hex(12)}

    async def _sign_in(self) -> str:
        session = await self._desk.sign_in(self._openid, "seller")
        self._ledger.count("sign_ins")
        return str(session["token"])


class OldTill:
    """A seller of the old dialect, who knows numbers only."""

    def __init__(self, session: OldSession, ledger: Ledger, *, stall_id: int) -> None:
        self.stall_id = stall_id
        self._session = session
        self._ledger = ledger
        self._fetching = asyncio.Lock()
        self._fetched_at_s = 0.0

    async def open(self) -> None:
        """Ask which stall this is; the answer's own id counts."""
        note = await self._session.ask("note")
        with contextlib.suppress(KeyError, ValueError):
            self.stall_id = int(note["sellerId"])

    async def issue(self, dish: str, *, twice: bool) -> Slip:
        async with self._fetching:
            await asyncio.sleep(max(0.0, self._fetched_at_s + APART_S - time.monotonic()))
            try:
                number = await self._fetch_twice() if twice else await self._fetch()
            finally:
                self._fetched_at_s = time.monotonic()
        return Slip(self.stall_id, number, None, dish)

    async def call(self, slip: Slip, *, twice: bool) -> None:
        slip.called_at_s = time.monotonic()
        await self._session.ask("call", marchSn=slip.number)

    async def recall(self, slip: Slip) -> None:
        await self._session.ask("call", marchSn=slip.number)

    async def no_show(self, slip: Slip) -> None:
        """The old dialect has no word for it; the number simply stays called."""

    async def finish(self, slip: Slip) -> None:
        await self._session.ask("done", isseller="yes", marchSn=slip.number)

    async def tidy(self) -> None:
        """Cancel what was fetched and never noted: numbers whose answer was lost."""
        await self._session.ask("clear")

    def drop(self, away_s: float) -> None:
        self._session.drop()

    async def close(self) -> None:
        await self._session.close()

    async def _fetch(self) -> int:
        answer = await self._session.ask("fetch")
        number = answer.get("marchSn")
        if type(number) is not int:
            self._ledger.violate(f"fetch answered marchSn {number!r}, which is no integer")
        return int(str(number))

    async def _fetch_twice(self) -> int:
        self._ledger.count("repeated_taps")
        began_s = time.monotonic()
        first, second = await asyncio.gather(self._fetch(), self._fetch())
        if first != second:
            if time.monotonic() - began_s < TAP_WINDOW_S:
                self._ledger.violate(
                    f"a double tap fetched {first} and {second} at stall {self.stall_id}"
                )
            with contextlib.suppress(RefusedError):
                await self._session.ask("done", isseller="yes", marchSn=second)
        return first


def ticket_of(answer: dict[str, Any]) -> dict[str, Any]:
    """The ticket of an answer, wherever it stands in it. Raises RefusedError for none."""
    tickets = tickets_in(answer)
    if not tickets:
        raise RefusedError("answer_without_ticket", str(answer))
    return tickets[0]


async def happens(event: asyncio.Event, seconds: float, pace: Pace) -> bool:
    """Whether it happened within so many simulated seconds."""
    try:
        async with asyncio.timeout(seconds / pace.speed):
            await event.wait()
    except TimeoutError:
        return False
    return True
