"""Events on their way to the customer: signed, sent, and sent again until they are stored.

The events of one cabinet leave one after the other; one that is not thanked for is tried again
by the schedule on the simulator's clock, while the next ones go on.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
import msgspec

from simulators.agenda import Agenda
from simulators.clock import VirtualClock
from simulators.reach import trusted, why_not
from simulators.xiaomai.account import APP_ID, CALLBACK_KEY_ID, CALLBACK_SECRET
from simulators.xiaomai.dial import Dial, Fault
from simulators.xiaomai.signing import Signed, new_nonce

# 15 s, 30 s, 3 m, 10 m, 20 m, 30 m, 60 m, 3 h x 2, 6 h, 9 h: a day, less one hour and a half.
RETRIES_S = (15, 30, 180, 600, 1200, 1800, 3600, 10800, 10800, 21600, 32400)
ANSWER_WITHIN_S = 5.0
AT_ONCE = 48
DELIVERIES_KEPT = 50_000
ANSWER_KEPT = 300

EVENT_TYPES = (
    *("device.online", "device.offline", "device.telemetry"),
    *("device.alarm", "device.alarm_cleared"),
    *("door.unlocked", "door.opened", "door.closed", "door.locked"),
    *("door.open_failed", "door.not_pulled"),
    *("order.pushed", "order.abnormal", "order.rechecked"),
    *("video.ready", "video.failed", "planogram.changed", "goods.ack"),
)


class Attempt(msgspec.Struct):
    """One post. status 0: nobody answered; fault: what was done to it.

    retry_after_s: for how long the customer wants to be left alone.
    """

    at_s: float
    attempt: int
    status: int
    is_thanked: bool
    answer: str
    fault: str | None
    nonce: str
    retry_after_s: float = 0.0


class Post(msgspec.Struct, frozen=True):
    headers: dict[str, str]
    body: bytes


class Delivery(msgspec.Struct):
    """An event and what became of it. event: without attempt and sent_at."""

    event_id: str
    event_type: str
    device_code: str
    event: dict[str, Any]
    created_s: float
    state: Literal["waiting", "delivered", "given_up", "lost"] = "waiting"
    tries: int = 0
    attempts: list[Attempt] = []


class Courier:
    """`url` is the customer's; without one every attempt fails, and is tried again.

    skew_s: how far the platform's clock is off when it signs. keep_alive: whether connections
    are used again.
    """

    def __init__(
        self, clock: VirtualClock, agenda: Agenda, dial: Dial, *, keep_alive: bool = False
    ) -> None:
        self._clock, self._agenda, self._dial = clock, agenda, dial
        self._keep_alive = keep_alive
        self._client: httpx.AsyncClient | None = None
        self._lanes: dict[str, deque[tuple[Delivery, Fault | None]]] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self.url = ""
        self.keys = {CALLBACK_KEY_ID: CALLBACK_SECRET}
        self.key_id = CALLBACK_KEY_ID
        self.reset()

    def reset(self) -> None:
        """Forget every event, those under way too."""
        self.all: deque[Delivery] = deque(maxlen=DELIVERIES_KEPT)
        self.skew_s = 0.0
        self.is_paused = False
        self._held: list[Callable[[], None]] = []
        self._paused: list[Delivery] = []
        self._lanes.clear()
        for task in self._under_way:
            task.cancel()

    def tell(self, event: dict[str, Any], event_id: str = "") -> Delivery:
        """event: everything but event_id, sent_at and attempt."""
        delivery = Delivery(
            event_id=event_id or f"ev_{secrets.token_hex(12)}",
            event_type=str(event.get("event_type", "")),
            device_code=str(event.get("device_code", "")),
            event=event,
            created_s=self._clock.now_s(),
        )
        self.all.append(delivery)
        if self.is_paused:
            self._paused.append(delivery)
        else:
            self._begin(delivery)
        return delivery

    def pause(self) -> None:
        """Keep what is told from now on."""
        self.is_paused = True

    def release(self) -> int:
        """Let everything kept go at once: a storm. How many."""
        self.is_paused = False
        kept, self._paused = self._paused, []
        for delivery in kept:
            self._begin(delivery)
        return len(kept)

    def again(self, delivery: Delivery) -> None:
        """One more attempt now, thanked for or not."""
        self._start(delivery, None)

    async def idle(self) -> None:
        while self._under_way or not self._agenda.is_idle:
            await asyncio.sleep(0)
            if self._under_way:
                await asyncio.wait(set(self._under_way))

    async def stop(self) -> None:
        under_way = list(self._under_way)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    # ------------------------------------------------------------ when it leaves

    def _begin(self, delivery: Delivery) -> None:
        if delivery.state != "waiting":
            return
        fault = self._dial.strike(f"event.{delivery.event_type}", delivery.device_code)
        kind = fault.kind if fault else None
        if kind == "lose":
            delivery.state = "lost"
        elif fault is not None and kind in ("delay", "reorder"):
            self._put_off(delivery, fault)
        else:
            self._start(delivery, fault)

    def _put_off(self, delivery: Delivery, fault: Fault) -> None:
        """Later, or as soon as another one was delivered; once, whichever comes first."""
        waiting = [True]

        def go() -> None:
            if waiting:
                waiting.clear()
                self._start(delivery, None)

        if fault.kind == "reorder":
            self._held.append(go)
        self._agenda.at(self._clock.now_s() + fault.seconds, go)

    def _start(self, delivery: Delivery, fault: Fault | None) -> None:
        lane = self._lanes.get(delivery.device_code)
        if lane is not None:
            lane.append((delivery, fault))
            return
        self._lanes[delivery.device_code] = deque([(delivery, fault)])
        task = asyncio.get_running_loop().create_task(self._drive(delivery.device_code))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _drive(self, device_code: str) -> None:
        lane = self._lanes[device_code]
        while lane:
            delivery, fault = lane.popleft()
            async with self._gate:
                await self._attempt(delivery, fault)
        if self._lanes.get(device_code) is lane:
            del self._lanes[device_code]

    # ------------------------------------------------------------ one attempt

    async def _attempt(self, delivery: Delivery, fault: Fault | None) -> None:
        kind = fault.kind if fault else None
        number = len(delivery.attempts) + 1
        post = self._write(delivery, number, fault)
        if kind == "forged_sign":
            await self._send(self._forged(delivery, number))
        if kind == "drop":
            done = self._noted(post, number, (0, "never arrived", 0.0), kind)
        else:
            done = self._noted(post, number, await self._send(post), kind)
        for _ in range(fault.copies if fault and kind == "repeat" else 0):
            done = self._noted(post, number, await self._send(post), kind)
        delivery.attempts.append(done)
        if done.is_thanked:
            self._thanked(delivery)
        else:
            self._retry(delivery, done.retry_after_s)
        if fault is not None:
            await self._mischief(delivery, fault, post)

    def _thanked(self, delivery: Delivery) -> None:
        delivery.state = "delivered"
        held, self._held = self._held, []
        for go in held:
            go()

    def _retry(self, delivery: Delivery, asked_wait_s: float) -> None:
        if delivery.state != "waiting":
            return
        if delivery.tries >= len(RETRIES_S):
            delivery.state = "given_up"
            return
        wait_s = asked_wait_s or RETRIES_S[delivery.tries]
        delivery.tries += 1
        self._agenda.at(self._clock.now_s() + wait_s, lambda: self._begin(delivery))

    async def _mischief(self, delivery: Delivery, fault: Fault, post: Post) -> None:
        """What comes besides: the same event under other ids, another one under its nonce."""
        if fault.kind == "duplicate":
            for _ in range(fault.copies):
                self.tell(delivery.event)
        elif fault.kind == "conflict":
            self.tell(other_content(delivery.event))
        elif fault.kind == "replay":
            await self._send(self._with_nonce(delivery, post.headers["X-Xm-Nonce"]))

    def _write(self, delivery: Delivery, number: int, fault: Fault | None) -> Post:
        event = spoilt(delivery.event, fault) if fault else delivery.event
        skew_s = fault.seconds if fault and fault.kind == "skew" else self.skew_s
        return self._signed(self._body(delivery.event_id, event, number), skew_s=skew_s)

    def _forged(self, delivery: Delivery, number: int) -> Post:
        body = self._body(f"ev_{secrets.token_hex(12)}", other_content(delivery.event), number)
        return self._signed(body, secret=secrets.token_hex(16))

    def _with_nonce(self, delivery: Delivery, nonce: str) -> Post:
        body = self._body(f"ev_{secrets.token_hex(12)}", other_content(delivery.event), 1)
        return self._signed(body, nonce=nonce)

    def _body(self, event_id: str, event: dict[str, Any], number: int) -> bytes:
        now_ms = round((self._clock.now_s() + self.skew_s) * 1000)
        whole = {"event_id": event_id, **event, "sent_at": now_ms, "attempt": number}
        return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()

    def _signed(
        self, body: bytes, *, skew_s: float = 0.0, secret: str = "", nonce: str = ""
    ) -> Post:
        parts = urlsplit(self.url)
        signed = Signed(
            path=parts.path,
            query=parts.query,
            timestamp=str(int(self._clock.now_s() + skew_s)),
            nonce=nonce or new_nonce(),
            body=body,
        )
        headers = {
            "Content-Type": "application/json",
            "X-Xm-App-Id": APP_ID,
            "X-Xm-Key-Id": self.key_id,
            "X-Xm-Timestamp": signed.timestamp,
            "X-Xm-Nonce": signed.nonce,
            "X-Xm-Sign": signed.sign(secret or self.keys[self.key_id]),
        }
        return Post(headers, body)

    async def send_signed(self, body: bytes) -> tuple[int, str]:
        """Any bytes at all, rightly signed: the status and the answer."""
        status, answer, _ = await self._send(self._signed(body, skew_s=self.skew_s))
        return status, answer

    async def _send(self, post: Post) -> tuple[int, str, float]:
        """Status, text, and for how long the customer wants to be left alone."""
        refused = await why_not(self.url) if self.url else "no callback address"
        if refused:
            return 0, refused, 0.0
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                response = await self._http().post(
                    self.url, headers=post.headers, content=post.body
                )
        except (httpx.HTTPError, TimeoutError) as error:
            return 0, f"{type(error).__name__}: {error}", 0.0
        wait_s = 0.0
        with suppress(ValueError):
            wait_s = float(response.headers.get("Retry-After", 0))
        return response.status_code, response.content.decode("utf-8", "replace"), wait_s

    def _noted(
        self, post: Post, number: int, said: tuple[int, str, float], kind: str | None
    ) -> Attempt:
        status, answer, retry_after_s = said
        return Attempt(
            at_s=self._clock.now_s(),
            attempt=number,
            status=status,
            is_thanked=_is_thanks(status, answer),
            answer=answer[:ANSWER_KEPT],
            fault=kind,
            nonce=post.headers["X-Xm-Nonce"],
            retry_after_s=retry_after_s,
        )

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            # Each request is given its own time.
            self._client = httpx.AsyncClient(  # nosec B113
                headers={"User-Agent": "xiaomai-push/1", "X-Simulator": "xiaomai"},
                limits=httpx.Limits(max_keepalive_connections=AT_ONCE if self._keep_alive else 0),
                verify=trusted(),
                timeout=None,  # noqa: S113 -- each call has its own
                trust_env=False,
            )
        return self._client


def _is_thanks(status: int, answer: str) -> bool:
    """HTTP 200 and code 0; a page or another code is none."""
    with suppress(ValueError):
        value = json.loads(answer)
        return status == 200 and isinstance(value, dict) and value.get("code") == 0
    return False


def spoilt(event: dict[str, Any], fault: Fault) -> dict[str, Any]:
    """The event as the fault makes it: another revision, another total, another type."""
    data = event.get("data", {})
    if fault.kind == "unknown_type":
        return event | {"event_type": "device.danced"}
    if fault.kind == "wrong_rev" and "rev" in data:
        return event | {"data": data | {"rev": fault.rev}}
    if fault.kind == "wrong_total" and "total_fen" in data:
        return event | {"data": data | {"total_fen": data["total_fen"] + fault.fen}}
    return event


def other_content(event: dict[str, Any]) -> dict[str, Any]:
    """The same event with other goods in it: one more of the first, or a total that is higher."""
    data = dict(event.get("data", {}))
    if data.get("items"):
        first, *rest = data["items"]
        data["items"] = [first | {"qty": first["qty"] + 1}, *rest]
        data["total_fen"] = data.get("total_fen", 0) + first["price_fen"]
    elif "total_fen" in data:
        data["total_fen"] += 100
    else:
        data["tampered"] = True
    return event | {"data": data}
