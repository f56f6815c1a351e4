"""The rush as a whole, over real sockets, against a server of a few lines."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import httpx
import pytest

from simulators.rush import Ledger, Plan, Rush
from simulators.rush.desk import Desk
from simulators.rush.ears import StallEar, TicketEar
from simulators.rush.line import Line
from simulators.rush.links import LinkLostError, RefusedError
from simulators.rush.old import Forms, Frames, OldSession, decoded
from simulators.wechat import WeChat
from tests.simulators.peer import Peer


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    server = Peer()
    await server.start()
    yield server
    await server.stop()


class Watched(Ledger):
    """A ledger one can wait for."""

    def __init__(self) -> None:
        super().__init__(tell=lambda text: None)
        self._counted = asyncio.Event()

    def count(self, what: str, times: int = 1) -> None:
        super().count(what, times)
        self._counted.set()

    async def until(self, what: str, times: int = 1) -> None:
        async with asyncio.timeout(20):
            while self.counts[what] < times:
                self._counted.clear()
                await self._counted.wait()


@pytest.fixture
def ledger() -> Watched:
    return Watched()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        yield client


@pytest.fixture
async def line(peer: Peer, ledger: Watched, http: httpx.AsyncClient) -> AsyncIterator[Line]:
    desk = Desk(http, peer.url)

    async def sign_in() -> str:
        return str((await desk.sign_in("demo-seller-1", "seller"))["token"])

    link = Line(peer.url, sign_in, ledger, Random(1), name="seller 1")
    link.start()
    yield link
    await link.close()


# ---------------------------------------------------------------- one line


async def test_a_wish_whose_answer_was_lost_is_repeated_with_its_key(
    line: Line, peer: Peer, ledger: Watched
) -> None:
    peer.swallow_next = True

    ticket = await line.command("ticket.issue", stall_id=1, key="k1")

    assert ticket["number"] == 1
    assert [c["key"] for c in peer.commands] == ["k1", "k1"]
    assert len(peer.tickets) == 1
    assert ledger.counts["repeated_after_loss"] == 1


async def test_two_taps_with_one_key_are_one_ticket(line: Line, peer: Peer) -> None:
    first, second = await line.command_twice("ticket.issue", stall_id=1, key="k1")

    assert first == second
    assert len(peer.tickets) == 1


async def test_who_drops_off_the_net_hears_what_was_missed(
    line: Line, peer: Peer, ledger: Watched
) -> None:
    await line.ready()
    ticket = await line.command("ticket.issue", stall_id=1, key="k1")
    ear = TicketEar(ticket["ticket_id"], ledger, line.ack)
    line.subscribe(ear)
    line.subscribe(StallEar(1, ledger))
    await line.command("ticket.follow", stall_id=1, number=1, note="面", key="k2")

    line.drop(away_s=0.05)
    peer.call(peer.tickets[ticket["ticket_id"]])
    peer.call(peer.tickets[ticket["ticket_id"]])
    await ledger.until("heard_after_resume", 2)
    await line.command("ticket.finish", ticket_id=ticket["ticket_id"], key="k3")

    assert ledger.violations == []
    assert ear.calls == 2
    assert ear.has_ended
    assert ledger.counts["resumed"] == 2
    assert {seq for _, seq in peer.acks} == {3, 4}


async def test_a_session_that_ended_is_begun_anew(line: Line, peer: Peer, ledger: Watched) -> None:
    await line.ready()
    peer.people.clear()
    peer.hang_up(4401)

    await line.command("ticket.issue", stall_id=1, key="k1")

    assert len(peer.people) == 1
    assert ledger.counts["reconnects"] == 1


async def test_a_refusal_is_passed_on_and_not_now_is_waited_for(
    line: Line, peer: Peer, ledger: Watched
) -> None:
    await line.ready()
    peer.refuse_next = "stall.due"
    with pytest.raises(RefusedError, match=r"stall\.due"):
        await line.command("ticket.issue", stall_id=1, key="k1")

    peer.refuse_next = "database.overloaded"
    ticket = await line.command("ticket.issue", stall_id=1, key="k2")

    assert ticket["number"] == 1
    assert ledger.refused == {"database.overloaded": 1}


async def test_a_subscription_that_was_put_off_is_asked_for_again(
    line: Line, peer: Peer, ledger: Watched
) -> None:
    await line.ready()
    peer.refuse_next = "stream.busy"
    ear = StallEar(1, ledger)

    line.subscribe(ear)
    await ledger.until("snapshots")

    assert ledger.refused == {"stream.busy": 1}
    assert ear.has_place


# ---------------------------------------------------------------- broken promises


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ("repeat", "came again or late"),
        ("lose", "its diner never heard it"),
        ("gap", "has a gap: 7 follows 5"),
        ("twin", "holds it"),
        ("leak", "shows note to everyone"),
        ("deaf", "one key gave two tickets"),
    ],
)
async def test_a_broken_promise_is_noticed(
    peer: Peer, broken: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulators.rush.visit.GRACE_S", 0.5)
    peer.breaks.add(broken)
    noticed = asyncio.Event()

    def tell(text: str) -> None:
        if complaint in text:
            noticed.set()

    rush = Rush(Plan(peer.url, stalls=1, speed=20), Ledger(tell=tell))
    noon = asyncio.create_task(rush.run())
    async with asyncio.timeout(60):
        await noticed.wait()
    noon.cancel()
    await asyncio.gather(noon, return_exceptions=True)

    assert rush.report()["violations"]


# ---------------------------------------------------------------- noon


async def test_a_noon_in_all_three_dialects_breaks_no_promise(peer: Peer) -> None:
    await peer.wechat.start()
    told: list[str] = []
    plan = Plan(peer.url, peer.wechat.url, stalls=4, speed=20, duration_s=4)
    rush = Rush(plan, Ledger(tell=told.append))

    await rush.run()
    await peer.wechat.stop()

    counts: dict[str, Any] = rush.report()["counts"]
    assert told == []
    for what in ("issued", "bound", "called", "heard_live", "heard_by_asking", "collected"):
        assert counts[what] > 3, (what, counts)
    for what in ("dropped", "resumed", "acknowledged", "finished"):
        assert counts[what] > 0, (what, counts)
    assert peer.wechat.messages.grants


async def test_a_restart_of_the_server_is_lived_through(peer: Peer, ledger: Watched) -> None:
    rush = Rush(Plan(peer.url, stalls=2, speed=20, duration_s=3), ledger)
    noon = asyncio.create_task(rush.run())
    await ledger.until("called", 2)

    peer.hang_up(1012)
    await noon

    assert ledger.violations == []
    assert ledger.counts["reconnects"] > 0
    assert ledger.counts["called"] > 2


async def test_the_command_prints_a_report(peer: Peer) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulators.rush", "--base-url", peer.url),
        *("--stalls", "1", "--speed", "20", "--duration", "2"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )

    report, errors = await process.communicate()

    assert process.returncode == 0, errors
    assert json.loads(report)["counts"]["issued"] > 0


# ---------------------------------------------------------------- the old dialect


@pytest.mark.parametrize("kind", ["forms", "plain frames", "encoded frames"])
async def test_the_old_dialect_signs_in_when_its_session_is_over(
    peer: Peer, ledger: Watched, http: httpx.AsyncClient, kind: str
) -> None:
    pushed: list[dict[str, Any]] = []
    forms, plain = Forms(http, peer.url), kind.startswith("plain")
    transport = forms if kind == "forms" else Frames(peer.url, pushed.append, is_plain=plain)
    session = OldSession(transport, Desk(http, peer.url), ledger, Random(1), "demo-seller-3")

    first = await session.ask("fetch")
    peer.people.clear()
    session.drop()
    again = await session.ask("note")
    with pytest.raises(RefusedError, match="Invalid Sn Error"):
        await session.ask("push", sellerId=3, marchSn=50, noteContent="面")
    await session.close()

    assert first["marchSn"] == 1
    assert again["sellerId"] == "3"
    assert ledger.counts["sign_ins"] == 2
    assert pushed == []


def test_old_frames_are_read_plain_or_encoded() -> None:
    assert decoded('{"push":"hi"}') == {"push": "hi"}
    assert decoded("%7B%22push%22%3A%22%E9%9D%A2%22%7D") == {"push": "面"}
    assert decoded("nonsense")["push"] == "error"


# ---------------------------------------------------------------- the desk


async def test_a_code_comes_from_wechat_and_a_grant_goes_there(http: httpx.AsyncClient) -> None:
    wechat = WeChat()
    await wechat.start()
    desk = Desk(http, "http://127.0.0.1:9", wechat.url)

    code = await desk.code("demo-diner-1", "diner")
    template = await desk.grant("demo-diner-1")
    await wechat.stop()

    assert code
    assert wechat.messages.grants == {("demo-diner-1", template): 1}


async def test_nobody_at_home_and_not_welcome_are_two_things(
    peer: Peer, http: httpx.AsyncClient
) -> None:
    with pytest.raises(RefusedError, match=r"account\.blocked"):
        await Desk(http, peer.url).sign_in("nobody", "diner")

    await peer.stop()
    with pytest.raises(LinkLostError):
        await Desk(http, peer.url).sign_in("demo-diner-1", "diner")
    await peer.start()
