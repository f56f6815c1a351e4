"""Notifications: sent at once, then again until the exact word of thanks, or a day has passed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from typing import Literal

import httpx
import msgspec

from simulators.agenda import Agenda
from simulators.clock import VirtualClock
from simulators.reach import trusted, why_not
from simulators.wechat.pay import xmltext
from simulators.wechat.pay.faults import PayFault, PayFaultBook
from simulators.wechat.pay.posts import Writer
from simulators.wechat.pay.settings import Settings

# 15 s, 15 s, 30 s, 3 m, 10 m, 20 m, 30 m x 3, 60 m, 3 h x 3, 6 h x 2: a day and four minutes.
RETRIES_S = (15, 15, 30, 180, 600, 1200, *[1800] * 3, 3600, *[10800] * 3, *[21600] * 2)
NOTICES_MAX = 5000
BODY_SHOWN = 4000

NoticeKind = Literal["pay", "refund", "v3_refund", "payscore", "echo"]
NoticeState = Literal["waiting", "delivered", "given_up"]


class Attempt(msgspec.Struct):
    """One post. status 0: nobody answered; answer is what came back, cut short."""

    at_s: float
    is_thanked: bool
    status: int
    answer: str
    took_s: float
    fault: str | None
    body: str = ""


class Notice(msgspec.Struct):
    """subject: the out_trade_no, out_refund_no or out_order_no it is about."""

    id: str
    kind: NoticeKind
    event_type: str
    subject: str
    url: str
    created_s: float
    write: Writer
    state: NoticeState = "waiting"
    tries: int = 0
    attempts: list[Attempt] = []

    @property
    def endpoint(self) -> str:
        return f"notify.{self.kind}"


class Notifier:
    """`idle()` waits until nothing is under way and nothing is due at this moment."""

    def __init__(self, clock: VirtualClock, agenda: Agenda) -> None:
        self._clock = clock
        self._agenda = agenda
        self._under_way: set[asyncio.Task[None]] = set()
        self._client: httpx.AsyncClient | None = None
        self.begin(PayFaultBook(), Settings())

    def begin(self, faults: PayFaultBook, settings: Settings) -> None:
        """Forget all notifications, those under way too."""
        self._faults = faults
        self._settings = settings
        self._held: list[Callable[[], None]] = []
        self.all: list[Notice] = []
        for task in self._under_way:
            task.cancel()

    def tell(self, notice: Notice) -> None:
        self.all.append(notice)
        del self.all[:-NOTICES_MAX]
        self._schedule(notice, 0.0)

    def again(self, notice: Notice) -> None:
        """One more attempt now, beside whatever the schedule holds."""
        self._agenda.at(self._clock.now_s(), lambda: self._begin(notice, planned=False))

    async def idle(self) -> None:
        while self._under_way or not self._agenda.is_idle:
            # Actions that are due run on the loop by themselves; give them a turn.
            await asyncio.sleep(0)
            if self._under_way:
                await asyncio.wait(self._under_way)

    async def stop(self) -> None:
        under_way = list(self._under_way)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _schedule(self, notice: Notice, wait_s: float) -> None:
        self._agenda.at(self._clock.now_s() + wait_s, lambda: self._begin(notice, planned=True))

    def _begin(self, notice: Notice, *, planned: bool) -> None:
        if planned and notice.state != "waiting":
            return
        fault = self._faults.strike(notice.endpoint)
        if fault is not None and fault.kind in ("delay", "reorder"):
            self._put_off(notice, fault, planned=planned)
        else:
            self._spawn(notice, fault, planned=planned)

    def _put_off(self, notice: Notice, fault: PayFault, *, planned: bool) -> None:
        """Later, or as soon as another one has been delivered; once, whichever comes first."""
        waiting = [True]

        def go() -> None:
            if waiting:
                waiting.clear()
                self._spawn(notice, fault, planned=planned)

        if fault.kind == "reorder":
            self._held.append(go)
        self._agenda.at(self._clock.now_s() + fault.seconds, go)

    def _spawn(self, notice: Notice, fault: PayFault | None, *, planned: bool) -> None:
        task = asyncio.get_running_loop().create_task(self._attempt(notice, fault, planned=planned))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _attempt(self, notice: Notice, fault: PayFault | None, *, planned: bool) -> None:
        copies = fault.copies if fault is not None and fault.kind == "duplicate" else 1
        done = await asyncio.gather(*(self._post(notice, fault) for _ in range(copies)))
        notice.attempts.extend(done)
        if any(attempt.is_thanked for attempt in done):
            notice.state = "delivered"
            self._let_go()
        elif planned:
            self._retry(notice)

    def _retry(self, notice: Notice) -> None:
        if notice.tries >= len(RETRIES_S):
            notice.state = "given_up"
            return
        notice.tries += 1
        self._schedule(notice, RETRIES_S[notice.tries - 1])

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for go in held:
            go()

    async def _post(self, notice: Notice, fault: PayFault | None) -> Attempt:
        at_s, began_s = self._clock.now_s(), time.monotonic()
        kind = fault.kind if fault else None
        post = notice.write(fault)
        status, answer = 0, ""
        if kind == "drop" or self._settings.is_blocked:
            answer = "never arrived"
        else:
            status, answer = await self.send(notice.url, post.headers, post.body)
        thanked = _is_thanks_v2 if notice.kind in ("pay", "refund") else _is_thanks_v3
        return Attempt(
            at_s=at_s,
            is_thanked=thanked(status, answer),
            status=status,
            answer=answer[:BODY_SHOWN],
            took_s=round(time.monotonic() - began_s, 4),
            fault="blocked" if self._settings.is_blocked else kind,
            body=post.body.decode("utf-8", "replace")[:BODY_SHOWN],
        )

    async def send(self, url: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        """Status and text; status 0 and the reason when nobody answered in time."""
        refused = await why_not(url)
        if refused:
            return 0, refused
        try:
            async with asyncio.timeout(self._settings.ack_timeout_s):
                response = await self._http().post(url, headers=headers, content=body)
        except (httpx.HTTPError, TimeoutError) as error:
            return 0, f"{type(error).__name__}: {error}"
        return response.status_code, response.content.decode("utf-8", "replace")

    def _http(self) -> httpx.AsyncClient:
        """Made when first needed; no connection is kept, as between strangers on the internet."""
        if self._client is None:
            # Each request is given its own time: five seconds are part of what is tried here.
            self._client = httpx.AsyncClient(  # nosec B113
                headers={"User-Agent": "Mozilla/4.0", "X-Simulator": "wechat"},
                limits=httpx.Limits(max_keepalive_connections=0),
                verify=trusted(),
                timeout=None,  # noqa: S113 -- each call has its own
                trust_env=False,
            )
        return self._client


def new_id(clock: VirtualClock) -> str:
    return f"EV-5151{int(clock.now_s())}{secrets.token_hex(6)}"


def _is_thanks_v2(status: int, answer: str) -> bool:
    """HTTP 200 and exactly SUCCESS and OK; a page, JSON or small letters are none."""
    said: dict[str, str] = {}
    with contextlib.suppress(xmltext.XmlError):
        said = xmltext.read(answer.encode())
    return status == 200 and (said.get("return_code"), said.get("return_msg")) == ("SUCCESS", "OK")


def _is_thanks_v3(status: int, _answer: str) -> bool:
    return status in (200, 204)
