"""The whole canteen: stalls, diners, a wall of boards, and the ledger they write into."""

import asyncio
import contextlib
from random import Random
from typing import Any, Literal

import httpx
import msgspec

from simulators.rush.desk import Desk
from simulators.rush.ears import StallEar
from simulators.rush.ledger import Ledger
from simulators.rush.line import Line
from simulators.rush.links import LinkLostError, Pace, RefusedError
from simulators.rush.old import Forms, Frames, OldSession
from simulators.rush.phones import ModernPhone, OldPhone, Phone
from simulators.rush.slip import Slip
from simulators.rush.stall import Stall
from simulators.rush.tills import ModernTill, OldTill, Till
from simulators.rush.visit import Visit

Dialect = Literal["modern", "forms", "frames"]

# Every eight stalls hold five of today's protocol, two with forms and one with old frames.
STALL_DIALECTS: tuple[Dialect, ...] = (
    *("modern", "forms", "modern", "frames", "modern", "modern", "forms", "modern"),
)
DINER_DIALECTS: tuple[Dialect, ...] = (
    *("modern", "modern", "forms", "modern", "frames", "modern", "modern", "modern"),
)
DINERS_PER_STALL = 20
WITHOUT_PHONE_SHARE = 0.1
LIMITS = httpx.Limits(max_connections=64, max_keepalive_connections=64)


class Plan(msgspec.Struct, frozen=True):
    """duration_s: real seconds until the stalls close; 0 is until stopped."""

    base_url: str
    wechat_url: str = ""
    stalls: int = 8
    speed: float = 1.0
    seed: int = 1
    duration_s: float = 0.0


class Rush:
    """`await run()`; `stop()` closes the stalls, and run returns when the last dish is gone."""

    def __init__(self, plan: Plan, ledger: Ledger | None = None) -> None:
        self.plan = plan
        self.ledger = ledger or Ledger()
        self.closing = asyncio.Event()
        self._pace = Pace(plan.speed)
        self._rng = Random(plan.seed)
        self._messages_sent = 0

    def stop(self) -> None:
        self.closing.set()

    def report(self) -> dict[str, Any]:
        """Counts, refusals by code, latencies and violations so far."""
        return self.ledger.report() | {"wechat_messages": self._messages_sent}

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=10, trust_env=False, limits=LIMITS) as http:
            desk = Desk(http, self.plan.base_url, self.plan.wechat_url)
            self._phones = self._make_phones(http, desk)
            boards = self._make_boards()
            timer = asyncio.create_task(self._close_in_time())
            restless = asyncio.create_task(self._reboot(boards))
            try:
                await self._keep_open(http, desk)
            finally:
                timer.cancel()
                restless.cancel()
                await asyncio.gather(timer, restless, return_exceptions=True)
                await boards.close()
                await self._count_messages(desk)

    async def _keep_open(self, http: httpx.AsyncClient, desk: Desk) -> None:
        async with asyncio.TaskGroup() as stalls:
            for number in range(1, self.plan.stalls + 1):
                rng = self._fork()
                till = self._make_till(http, desk, number, rng)
                stall = Stall(till, self._welcome, self.ledger, self._pace, rng)
                stalls.create_task(stall.run(self.closing), name=f"stall {number}")

    async def _welcome(self, slip: Slip, rng: Random) -> None:
        """Give the slip to a diner who has a phone free, or to one who has none."""
        if not self._phones or rng.random() < WITHOUT_PHONE_SHARE:
            await self._eat_without_phone(slip, rng)
            return
        phone = self._phones.pop(rng.randrange(len(self._phones)))
        try:
            await Visit(phone, slip, self.ledger, self._pace, rng).run()
        finally:
            self._phones.append(phone)

    async def _eat_without_phone(self, slip: Slip, rng: Random) -> None:
        self.ledger.count("without_phone")
        await slip.called.wait()
        await self._pace.wait(rng.uniform(2, 8))
        slip.is_collected.set()

    # ------------------------------------------------------------ who is there

    def _make_till(self, http: httpx.AsyncClient, desk: Desk, number: int, rng: Random) -> Till:
        dialect = STALL_DIALECTS[(number - 1) % len(STALL_DIALECTS)]
        if dialect == "modern":
            return ModernTill(self.plan.base_url, desk, self.ledger, rng, stall_id=number)
        session = self._old_session(http, desk, dialect, f"demo-seller-{number}", number)
        return OldTill(session, self.ledger, stall_id=number)

    def _make_phones(self, http: httpx.AsyncClient, desk: Desk) -> list[Phone]:
        count = self.plan.stalls * DINERS_PER_STALL
        return [self._make_phone(http, desk, number) for number in range(1, count + 1)]

    def _make_phone(self, http: httpx.AsyncClient, desk: Desk, number: int) -> Phone:
        dialect = DINER_DIALECTS[(number - 1) % len(DINER_DIALECTS)]
        openid, rng = f"demo-diner-{number}", self._fork()
        if dialect == "modern":
            return ModernPhone(self.plan.base_url, desk, self.ledger, rng, openid=openid)
        session = self._old_session(http, desk, dialect, openid, number // len(DINER_DIALECTS))
        return OldPhone(session, self.ledger, self._pace, rng)

    def _old_session(
        self, http: httpx.AsyncClient, desk: Desk, dialect: Dialect, openid: str, turn: int
    ) -> OldSession:
        """turn: every second client of old frames sends plain JSON, as later tools did."""
        base_url = self.plan.base_url
        if dialect == "forms":
            return OldSession(Forms(http, base_url), desk, self.ledger, self._fork(), openid)
        frames = Frames(base_url, self._pushed, is_plain=turn % 2 == 1)
        return OldSession(frames, desk, self.ledger, self._fork(), openid)

    def _pushed(self, frame: dict[str, Any]) -> None:
        """An old frame nobody asked for, such as a call that the server pushes."""
        self.ledger.count("old_frames_pushed")

    def _make_boards(self) -> Line:
        """One screen that shows all stalls, signed in as nobody."""
        line = Line(self.plan.base_url, None, self.ledger, self._fork(), name="board")
        for stall_id in range(1, self.plan.stalls + 1):
            line.subscribe(StallEar(stall_id, self.ledger))
        line.start()
        return line

    # ------------------------------------------------------------ time

    async def _close_in_time(self) -> None:
        if self.plan.duration_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.plan.duration_s):
                    await self.closing.wait()
            self.stop()

    async def _reboot(self, boards: Line) -> None:
        rng = self._fork()
        while True:
            await self._pace.wait(rng.uniform(30, 90))
            boards.drop(rng.uniform(1, 5) / self.plan.speed)

    async def _count_messages(self, desk: Desk) -> None:
        with contextlib.suppress(LinkLostError, RefusedError):
            self._messages_sent = await desk.messages_sent()

    def _fork(self) -> Random:
        """A sequence of its own for each actor: one's luck does not change another's."""
        return Random(self._rng.random())
