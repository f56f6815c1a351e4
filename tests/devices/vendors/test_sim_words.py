"""The sim vendor's words, field by field."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.vendors import port
from devices.vendors.port import BadCallback, Reason, Unread, VendorRefused, VendorUnknown
from devices.vendors.sim import Sim
from devices.vendors.sim.callbacks import parse
from devices.vendors.sim.messages import fen, text, yuan
from tests.payments.wechat.peer import Peer

AT = "2026-11-20T12:00:00.250+08:00"
AT_MS = 1_795_147_200_250


def word(what: str, **fields: Any) -> bytes:
    usual = {"id": "w1", "what": what, "at": AT, "cabinet": "C1", "door": 2}
    return json.dumps(usual | fields).encode()


COMMON: dict[str, Any] = {
    "event_id": "w1",
    "device_code": "C1",
    "occurred_at": AT_MS,
    "door_no": 2,
    "session_no": "",
    "request_id": "",
}
BILL = {
    "no": "B1",
    "cabinet": "C1",
    "door": 2,
    "edition": 2,
    "sure": "no",
    "goods": {"cola": ["3.5", 2], "tea": ["5", 1]},
    "sum": "12.00",
    "opened": "2026-11-20T04:00:00Z",
    "oddities": ["camera"],
}
FACT = port.OrderFact(
    vendor_order_no="B1",
    device_code="C1",
    door_no=2,
    rev=2,
    certainty=port.Certainty.UNCERTAIN,
    items=(
        port.Item(sku="cola", quantity=2, price_fen=350),
        port.Item(sku="tea", quantity=1, price_fen=500),
    ),
    total_fen=1200,
    opened_at=1_795_147_200_000,
    abnormal=("camera",),
)


@pytest.mark.parametrize(
    ("raw", "event"),
    [
        (word("alive"), port.DeviceOnline(**COMMON)),
        (word("silent"), port.DeviceOffline(**COMMON)),
        (word("opened", at="2026-11-20T04:00:00.25"), port.DoorOpened(**COMMON)),
        (word("shut"), port.DoorClosed(**COMMON)),
        (word("untouched"), port.NotPulled(**COMMON)),
        (word("stuck"), port.OpenFailed(**COMMON, reason=Reason.LOCK_FAILED)),
        (word("trouble", kind="fan"), port.Alarm(**COMMON, kind="fan", is_raised=True)),
        (word("trouble over", kind="fan"), port.Alarm(**COMMON, kind="fan", is_raised=False)),
        (word("bill", bill=BILL), port.OrderPushed(**COMMON, order=FACT)),
        (word("odd bill", bill=BILL), port.OrderAbnormal(**COMMON, order=FACT)),
        (
            word("sensors", sensors={"celsius": -4.25, "onMains": False}),
            port.Telemetry(
                **COMMON,
                fact=port.DeviceFact(device_code="C1", online=True, power="ups", temp_c10=-42),
            ),
        ),
        (
            word("sensors", sensors={}),
            port.Telemetry(**COMMON, fact=port.DeviceFact(device_code="C1", online=True)),
        ),
    ],
)
def test_each_word_is_understood(raw: bytes, event: port.Event) -> None:
    assert parse(raw) == event


@pytest.mark.parametrize(
    "changes",
    [
        {"sum": "1.234"},
        {"sum": "-1"},
        {"sum": 12},
        {"sum": "12\n"},
        {"sum": "1e3"},
        {"edition": 0},
        {"sure": "perhaps"},
        {"goods": {"cola": ["3.5", 0]}},
        {"goods": {"": ["3.5", 1]}},
    ],
)
def test_a_bill_that_makes_no_sense_is_nobodys(changes: dict[str, Any]) -> None:
    found = parse(word("bill", bill=BILL | changes))

    assert isinstance(found, Unread)
    assert (found.event_id, found.event_type) == ("w1", "bill")


def test_a_word_of_which_only_the_id_can_be_read_is_kept_under_it() -> None:
    found = parse(word("opened", at="yesterday"))

    assert isinstance(found, Unread)
    assert (found.event_id, found.device_code) == ("w1", "")


@given(
    what=st.sampled_from(["opened", "bill", "odd bill", "sensors", "trouble", "stuck", "x"]),
    fields=st.dictionaries(
        st.sampled_from(["at", "cabinet", "door", "visit", "kind", "bill", "sensors"]),
        st.none()
        | st.integers()
        | st.text()
        | st.dictionaries(st.sampled_from([*BILL, "celsius", "doors"]), st.integers() | st.text()),
    ),
)
def test_whatever_comes_is_an_event(what: str, fields: dict[str, Any]) -> None:
    found = parse(word(what, **fields))

    assert found.event_id == "w1"
    assert len(found.device_code) <= 50


@given(st.binary())
def test_bytes_that_are_no_word_are_refused(raw: bytes) -> None:
    with pytest.raises(BadCallback):
        parse(raw)


@given(st.integers(min_value=0, max_value=10**9))
def test_amounts_are_the_same_there_and_back(amount: int) -> None:
    assert fen(yuan(amount)) == amount


def test_a_time_is_written_with_its_milliseconds() -> None:
    assert text(AT_MS) == "2026-11-20T04:00:00.250000Z"


# ---------------------------------------------------------------- its answers


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    peer.start()
    yield peer
    await peer.stop()


@pytest.fixture
async def sim(peer: Peer) -> AsyncIterator[Sim]:
    vendor = Sim(peer.url, "token", secrets=["", "s"], addresses=[], now=lambda: AT_MS)
    yield vendor
    await vendor.close()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        ("200 OK", b'{"error":"asleep"}', VendorRefused),
        ("200 OK", b'{"error":"a word of its own"}', VendorRefused),
        ("409 No", b'{"error":"busy"}', VendorRefused),
        ("409 No", b"{}", VendorUnknown),
        ("404 No", b"<html>", VendorUnknown),
        ("500 Oh", b'{"error":"busy"}', VendorUnknown),
        ("302 There", b"{}", VendorUnknown),
    ],
)
async def test_only_a_word_is_a_clear_no(
    sim: Sim, peer: Peer, status: str, body: bytes, error: type[Exception]
) -> None:
    peer.says_body(body, status=status)

    with pytest.raises(error):
        await sim.reboot("C1", reason="stuck")


async def test_a_refusal_that_is_no_answer_is_raised(sim: Sim, peer: Peer) -> None:
    peer.says_body(b'{"error":"token"}', status="401 No")

    with pytest.raises(VendorRefused) as refused:
        await sim.query_order(session_no="S1")

    assert refused.value.reason is Reason.SIGNATURE


async def test_no_bills_are_no_bill(sim: Sim, peer: Peer) -> None:
    peer.says_body(b'{"bills":[]}')

    assert await sim.query_order(session_no="S1") is None


async def test_a_step_says_what_became_of_a_command(sim: Sim, peer: Peer) -> None:
    for step, why in [("failed", "untouched"), ("failed", "odd"), ("flying", ""), ("waiting", "")]:
        peer.says_body(json.dumps({"step": step, "why": why}).encode())

    facts = [await sim.query_session("R1") for _ in range(4)]

    assert [(fact.state, fact.reason) for fact in facts] == [
        ("failed", Reason.NOT_PULLED),
        ("failed", Reason.OTHER),
        ("unknown", Reason.SESSION_UNKNOWN),
        ("pending", Reason.NONE),
    ]


def test_whoever_is_on_no_list_is_a_stranger_and_an_empty_secret_is_none(sim: Sim) -> None:
    for secret, address in [("s", "127.0.0.1"), ("", "127.0.0.1")]:
        with pytest.raises(port.BadSignature):
            sim.verify(
                endpoint_id=secret,
                headers={},
                path="",
                query="",
                raw=b"",
                now=AT_MS,
                address=address,
            )
