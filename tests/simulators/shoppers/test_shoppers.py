"""Shoppers over real sockets: what they do, what they put up with, and what they complain of."""

import asyncio
import json
import signal
import sys
from random import Random

import httpx
import msgspec
import pytest

from simulators.rush.links import Pace, RefusedError
from simulators.shoppers import Crowd, Notes, Plan
from simulators.shoppers import trip as trips
from simulators.shoppers.phone import Phone
from simulators.shoppers.restocker import FULL, Restocker
from simulators.shoppers.street import Door, Street
from simulators.shoppers.trip import Trip
from simulators.wechat import WeChat
from simulators.xiaomai import Fault, Xiaomai
from simulators.xiaomai import Pace as PlatformPace
from tests.simulators.shoppers.conftest import Peer

DOOR = Door("D1", 1, "D1#1")


@pytest.fixture
def phone(http: httpx.AsyncClient, peer: Peer) -> Phone:
    return Phone(http, peer.url, "", "o-shopper", Random(1))


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody walks away or leaves without goods, and nobody looks only now and then."""
    for share in ("WALKS_AWAY_SHARE", "TAKES_NOTHING_SHARE", "PUTS_BACK_SHARE"):
        monkeypatch.setattr(trips, share, 0.0)
    monkeypatch.setattr(trips, "LOOK_EVERY_S", 0.01)


async def go(
    phone: Phone, street: Street, notes: Notes, seed: int = 1, *, settles_within_s: float = 5
) -> None:
    trip = Trip(
        phone, street, DOOR, notes, Pace(100), Random(seed), settles_within_s=settles_within_s
    )
    await trip.run("ticket")


# ---------------------------------------------------------------- one trip


@pytest.mark.usefixtures("steady")
async def test_a_trip_from_the_scan_to_the_receipt(
    phone: Phone, street: Street, notes: Notes, peer: Peer, platform: Xiaomai
) -> None:
    await go(phone, street, notes)

    assert notes.counts["session_paid"] == notes.counts["receipts_right"] == 1
    assert notes.violations == []
    (booked,) = platform.books()
    assert booked["worth_fen"] == notes.counts["fen_spent"] > 0
    assert platform.cabinet("D1").door(1).lock == "locked"
    report = notes.report()
    assert report["seconds"]["unlocked"]["p50"] >= 0
    assert report["seconds"]["settled"]["max"] >= report["seconds"]["settled"]["p50"]


@pytest.mark.parametrize(
    ("share", "count"),
    [("TAKES_NOTHING_SHARE", "session_no_purchase"), ("PUTS_BACK_SHARE", "session_no_purchase")],
)
@pytest.mark.usefixtures("steady")
async def test_who_leaves_with_nothing_pays_nothing(
    phone: Phone,
    street: Street,
    notes: Notes,
    peer: Peer,
    monkeypatch: pytest.MonkeyPatch,
    share: str,
    count: str,
) -> None:
    monkeypatch.setattr(trips, share, 1.0)
    await go(phone, street, notes)

    assert notes.counts[count] == 1
    assert notes.violations == []


@pytest.mark.usefixtures("steady")
async def test_who_walks_away_leaves_the_door_to_itself(
    phone: Phone, street: Street, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trips, "WALKS_AWAY_SHARE", 1.0)
    await go(phone, street, notes)

    assert notes.counts == {"scanned": 1, "walked_away": 1}


@pytest.mark.usefixtures("steady")
async def test_a_cabinet_that_is_sold_out(
    phone: Phone, street: Street, notes: Notes, platform: Xiaomai
) -> None:
    for slot in platform.cabinet("D1").slots:
        slot.stock = 0
    await go(phone, street, notes)

    assert (notes.counts["sold_out"], notes.counts["session_no_purchase"]) == (1, 1)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ("overcharge", "fen due for goods of"),
        ("free", "0 fen due for goods of"),
        ("twice", "in 2 orders"),
    ],
)
@pytest.mark.usefixtures("steady")
async def test_a_wrong_receipt_is_complained_of(
    phone: Phone, street: Street, notes: Notes, peer: Peer, broken: str, complaint: str
) -> None:
    peer.breaks.add(broken)
    await go(phone, street, notes)

    assert any(complaint in violation for violation in notes.violations), notes.violations
    assert notes.counts["receipts_wrong"] == 1


@pytest.mark.usefixtures("steady")
async def test_what_is_unpaid_is_paid_afterwards_or_before_the_next_door(
    phone: Phone, street: Street, notes: Notes, peer: Peer
) -> None:
    peer.breaks.add("unpaid")
    await go(phone, street, notes)
    afterwards = (notes.counts["debts_paid"], notes.counts["session_unpaid"])
    for order in peer.orders[1]:
        order |= {"state": "unpaid", "paid_fen": 0}
    peer.refuse_next = ["cabinets.unpaid_order"]
    await go(phone, street, notes)

    assert afterwards == (1, 1)
    assert notes.refused == {"cabinets.unpaid_order": 1}
    assert notes.counts["debts_paid"] == 2
    assert notes.violations == []


@pytest.mark.parametrize(("broken", "count"), [("review", "for_a_person"), ("slow", "unsettled")])
@pytest.mark.usefixtures("steady")
async def test_what_takes_a_person_or_too_long_is_left(
    phone: Phone, street: Street, notes: Notes, peer: Peer, broken: str, count: str
) -> None:
    peer.breaks.add(broken)
    await go(phone, street, notes, settles_within_s=0.05)

    assert notes.counts[count] == 1
    assert notes.violations == []


@pytest.mark.usefixtures("steady")
async def test_a_door_that_stays_closed(
    phone: Phone, street: Street, notes: Notes, peer: Peer, platform: Xiaomai
) -> None:
    platform.dial.add(Fault(at="device.open", kind="lock_failed", times=2))
    await go(phone, street, notes)
    peer.orders[2] = [{"session_id": 2}]
    await go(phone, street, notes)

    assert notes.counts["stayed_closed"] == 2
    assert len(notes.violations) == 1
    assert "never opened" in notes.violations[0]


@pytest.mark.usefixtures("steady")
async def test_a_lost_answer_is_asked_for_again_with_the_same_key(
    phone: Phone, street: Street, notes: Notes, peer: Peer
) -> None:
    peer.swallow_next = 1
    peer.refuse_next = ["session.expired"]
    await go(phone, street, notes)

    assert len(peer.sessions) == 1
    assert peer.signed_in == 2
    assert notes.counts["receipts_right"] == 1


async def test_a_refusal_is_counted(phone: Phone, street: Street, notes: Notes, peer: Peer) -> None:
    peer.refuse_next = ["cabinets.no_tickets"]
    await go(phone, street, notes)

    assert notes.refused == {"cabinets.no_tickets": 1}
    assert peer.sessions == {}


async def test_a_physical_impossibility_is_a_refusal(street: Street) -> None:
    with pytest.raises(RefusedError, match="is locked"):
        await street.do(DOOR, "pull")


async def test_only_doors_with_a_sticker_are_gone_to(street: Street, platform: Xiaomai) -> None:
    platform.add_cabinet("D3", bound_to="S1")

    assert [(door.code, door.qr) for door in await street.doors()] == [
        ("D1", "D1#1"),
        ("D2", "D2#1"),
    ]


async def test_what_wechat_is_to_show_is_shown(http: httpx.AsyncClient, peer: Peer) -> None:
    wechat = WeChat()
    await wechat.start()
    phone = Phone(http, peer.url, wechat.url, "o-shopper", Random(1))
    view = {"businessType": "wxpayScoreUse", "extraData": {"package": "none"}}
    fields = ("timeStamp", "nonceStr", "package", "signType", "paySign")
    peer.box = dict.fromkeys(fields, "none")
    peer.orders[1] = [{"id": 1, "session_id": 1, "due_fen": 5, "state": "unpaid"}]
    try:
        with pytest.raises(RefusedError, match="no Payscore order 'none'"):
            await phone.confirm(view)
        with pytest.raises(RefusedError, match=r"no order .*none"):
            await phone.pay(peer.orders[1][0], "wechat")
    finally:
        await wechat.stop()


# ---------------------------------------------------------------- the trolley


async def test_what_runs_low_is_filled_up_and_counted(
    http: httpx.AsyncClient, street: Street, notes: Notes, peer: Peer, platform: Xiaomai
) -> None:
    cabinet = platform.cabinet("D1")
    cabinet.slots[0].stock = 1
    restocker = Restocker(http, peer.url, "staff", street, notes)
    await restocker.round()
    await restocker.round()

    assert (cabinet.stock("cola"), cabinet.stock("tea")) == (FULL, 9)
    assert notes.counts == {"restocked": 1}
    (said,) = peer.counts
    assert said["counts"] == [{"sku": "cola", "quantity": FULL}, {"sku": "tea", "quantity": 9}]
    assert said["session_id"] == 1
    assert platform.books() == []


async def test_a_restocking_that_is_refused_waits(
    http: httpx.AsyncClient, street: Street, notes: Notes, peer: Peer, platform: Xiaomai
) -> None:
    platform.cabinet("D1").slots[0].stock = 1
    peer.refuse_next = ["door_session.door_busy"]
    await Restocker(http, peer.url, "staff", street, notes).round()
    await Restocker(http, "http://127.0.0.1:1", "staff", street, notes).round()

    assert notes.refused == {"restock:door_session.door_busy": 1}
    assert notes.counts["given_up"] == 1


# ---------------------------------------------------------------- all of them


async def test_a_crowd_shops_until_it_has_been_often_enough(plan: Plan, notes: Notes) -> None:
    crowd = Crowd(msgspec.structs.replace(plan, trips=6, staff_token="staff"), notes)

    async with asyncio.timeout(30):
        await crowd.run()

    done = notes.counts["scanned"] + notes.counts["refused"]
    assert done == 6
    assert crowd.report()["violations"] == []


async def test_a_crowd_goes_home_when_it_is_time(plan: Plan, platform: Xiaomai) -> None:
    for cabinet in platform.cabinets.values():
        cabinet.door(1).qr_token = ""
    crowd = Crowd(msgspec.structs.replace(plan, duration_s=0.3))

    async with asyncio.timeout(10):
        await crowd.run()

    assert crowd.report()["counts"] == {}


async def test_the_command_reports_at_the_end(peer: Peer, platform: Xiaomai) -> None:
    platform.pace = PlatformPace(unlock_s=0.05)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulators.shoppers", "--base-url", peer.url),
        *("--control-url", f"{platform.url}/__sim", "--control-token", platform.token),
        *("--shoppers", "2", "--speed", "50"),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        while "POST cabinets/open" not in peer.asked:  # noqa: ASYNC110 -- another process
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        output, _ = await process.communicate()

    report = json.loads(output)
    assert process.returncode == 0, report
    assert report["counts"]["scanned"] >= 1
