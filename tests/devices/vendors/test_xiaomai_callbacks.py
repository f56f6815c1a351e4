"""Xiaomai's callbacks: only its own are taken, and each is understood or said to be not."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.vendors import port
from devices.vendors.port import BadCallback, BadSignature, Replayed, Skewed, TooLarge, Unread
from devices.vendors.xiaomai import callbacks, signing
from devices.vendors.xiaomai.callbacks import Callbacks, parse
from tests.devices.vendors import speech

NOW = 1_795_147_200_000

VECTOR_BODY = (
    b'{"event_id":"ev_0001","event_type":"order.pushed",'
    b'"wheat_order_no":"XM20250101000001","amount_fen":1250}'
)
VECTOR_SIGN = "5414ad8fe55269fd915893567628401d2cb478618ea455d9668f1e7d73dd022d"


# ---------------------------------------------------------------- the published vector


def test_the_published_vector_is_signed_as_published() -> None:
    body_hash = signing.sha256(VECTOR_BODY)
    signed = signing.Signed(
        method="POST",
        path="/cb/xiaomai/ep_demo/events",
        query="a=1&b=%E5%B0%8F",
        timestamp="1735689600",
        nonce="N0nceN0nceN0nce01",
        body_hash=body_hash,
    )

    assert body_hash == "45e63f8dabd00d9bfc268106c744b2e0d511271ecbd25d9b340732c622d559c9"
    assert signing.sign("xm_test_secret_0123456789abcdef", signed.text()) == VECTOR_SIGN


def test_the_published_vector_is_verified() -> None:
    vendor = Callbacks("xm_app", {"ep_demo": ["xm_test_secret_0123456789abcdef"]})

    verified = vendor.verify(
        endpoint_id="ep_demo",
        headers={
            "x-xm-app-id": "xm_app",
            "x-xm-key-id": "k",
            "x-xm-timestamp": "1735689600",
            "x-xm-nonce": "N0nceN0nceN0nce01",
            "x-xm-sign": VECTOR_SIGN,
        },
        path="/cb/xiaomai/ep_demo/events",
        query="b=%e5%b0%8f&a=1",
        raw=VECTOR_BODY,
        now=1_735_689_600_000,
    )

    assert (verified.nonce, verified.signed_at) == ("N0nceN0nceN0nce01", 1_735_689_600_000)


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        ("", ""),
        ("b=2&a=1", "a=1&b=2"),
        ("a=2&a=1", "a=1&a=2"),
        ("a=%e5%b0%8f", "a=%E5%B0%8F"),
        ("a=小", "a=%E5%B0%8F"),
        ("a=%7e_-.&b", "a=~_-.&b="),
        ("a=x+y%2F", "a=x%20y%2F"),
    ],
)
def test_a_query_has_one_form_however_it_was_written(query: str, canonical: str) -> None:
    assert signing.canonical_query(query) == canonical


def test_our_own_requests_carry_what_the_platform_checks() -> None:
    key = signing.Key("app", "k1", speech.SECRET)

    headers = key.headers(path="/p", query="", body=b"{}", now=NOW, nonce="n" * 20)

    assert headers == {
        "x-xm-app-id": "app",
        "x-xm-key-id": "k1",
        "x-xm-timestamp": str(NOW // 1000),
        "x-xm-nonce": "n" * 20,
        "x-xm-sign": speech.signature(
            speech.SECRET, b"{}", path="/p", timestamp=str(NOW // 1000), nonce="n" * 20
        ),
    }


# ---------------------------------------------------------------- whose it is

ENDPOINTS = {
    speech.ENDPOINT: [speech.SECRET, speech.OLD_SECRET],
    "ep_other": ["another customer's secret"],
    "ep_none": [""],
}
BODY = speech.event("door.opened")


def verified(
    headers: Mapping[str, str],
    *,
    raw: bytes = BODY,
    now: int = NOW,
    endpoint_id: str = speech.ENDPOINT,
    path: str = speech.PATH,
    query: str = "",
) -> port.Verified:
    return Callbacks(speech.APP_ID, ENDPOINTS).verify(
        endpoint_id=endpoint_id, headers=headers, path=path, query=query, raw=raw, now=now
    )


def test_what_is_signed_with_the_endpoints_secret_is_xiaomais() -> None:
    headers = speech.headers(BODY, now=NOW)

    assert verified(headers) == port.Verified(
        endpoint_id=speech.ENDPOINT,
        nonce=headers["x-xm-nonce"],
        body_hash=signing.sha256(BODY),
        raw=BODY,
        signed_at=NOW,
    )


def test_while_the_secret_is_changed_the_old_one_is_good_too() -> None:
    found = verified(speech.headers(BODY, now=NOW, secret=speech.OLD_SECRET))

    assert found.raw == BODY


@pytest.mark.parametrize("secret", ["", "a guess", "another customer's secret"])
def test_another_secret_is_nobodys(secret: str) -> None:
    with pytest.raises(BadSignature):
        verified(speech.headers(BODY, now=NOW, secret=secret))


def test_an_endpoint_whose_secret_is_empty_takes_nothing() -> None:
    path = "/cb/xiaomai/ep_none/events"

    with pytest.raises(BadSignature):
        verified(
            speech.headers(BODY, now=NOW, secret="", path=path), endpoint_id="ep_none", path=path
        )


def test_an_endpoint_that_is_not_there_takes_nothing() -> None:
    with pytest.raises(BadSignature):
        verified(speech.headers(BODY, now=NOW), endpoint_id="ep_nowhere")


@pytest.mark.parametrize(
    "changed",
    [
        {"raw": BODY + b" "},
        {"path": "/cb/xiaomai/ep_other/events"},
        {"query": "a=1"},
        {"query": "&".join(f"a{n}=1" for n in range(40))},
    ],
)
def test_whatever_is_signed_cannot_be_changed(changed: dict[str, Any]) -> None:
    with pytest.raises(BadSignature):
        verified(speech.headers(BODY, now=NOW), **changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"x-xm-app-id": "another"},
        {"x-xm-key-id": ""},
        {"x-xm-key-id": " "},
        {"x-xm-key-id": "cb1,cb1"},
        {"x-xm-key-id": "k" * 65},
        {"x-xm-key-id": "cb1\n"},
        {"x-xm-key-id": "钥"},
        {"x-xm-timestamp": ""},
        {"x-xm-timestamp": "-1795147200"},
        {"x-xm-timestamp": "１７９５１４７２００"},
        {"x-xm-timestamp": "1" * 13},
        {"x-xm-timestamp": str(NOW // 1000 + 1)},
        {"x-xm-nonce": ""},
        {"x-xm-nonce": "short"},
        {"x-xm-nonce": "n" * 65},
        {"x-xm-nonce": "n" * 20 + "\n"},
        {"x-xm-nonce": "another" * 3},
        {"x-xm-sign": ""},
        {"x-xm-sign": "0" * 64},
        {"x-xm-sign": "小" * 64},
        {"x-xm-sign": "\udcff"},
    ],
)
def test_a_header_that_is_wrong_or_missing_is_refused(changed: dict[str, str]) -> None:
    headers = speech.headers(BODY, now=NOW)

    with pytest.raises(BadSignature):
        verified(headers | changed)
    for name in changed:
        with pytest.raises(BadSignature):
            verified({key: value for key, value in headers.items() if key != name})


def test_which_name_the_key_has_decides_nothing() -> None:
    """While two secrets are good, neither has a name with us; the secret is what proves it."""
    headers = speech.headers(BODY, now=NOW, secret=speech.OLD_SECRET)

    assert verified(headers | {"x-xm-key-id": "k-2026!"}).raw == BODY


@pytest.mark.parametrize("skew_s", [-300, 0, 300])
def test_five_minutes_either_way_are_in_time(skew_s: int) -> None:
    assert verified(speech.headers(BODY, now=NOW + skew_s * 1000)).raw == BODY


@pytest.mark.parametrize("skew_s", [-3600, -301, 301, 3600])
def test_more_than_that_is_skewed(skew_s: int) -> None:
    with pytest.raises(Skewed):
        verified(speech.headers(BODY, now=NOW + skew_s * 1000))


def test_a_stranger_does_not_learn_that_his_clock_is_wrong() -> None:
    with pytest.raises(BadSignature):
        verified(speech.headers(BODY, now=NOW - 3_600_000, secret="a guess"))


# ---------------------------------------------------------------- what it says

COMMON: dict[str, Any] = {
    "device_code": "XM-1",
    "occurred_at": NOW,
    "door_no": 1,
    "session_no": "S1",
    "request_id": "R1",
    "boot_id": "b1",
    "seq": 7,
}
FACT = port.OrderFact(
    vendor_order_no="XM20261120000001",
    device_code="XM-1",
    door_no=1,
    session_no="S1",
    request_id="R1",
    rev=1,
    certainty=port.Certainty.CERTAIN,
    items=(
        port.Item(
            sku="cola", quantity=2, price_fen=350, barcode="690001", name="可乐", confidence=0.99
        ),
    ),
    total_fen=700,
    opened_at=1_795_147_190_000,
    closed_at=1_795_147_199_000,
    weight_before_g=9_000,
    weight_after_g=8_300,
    video="pending",
)
TELEMETRY = {
    "power": "ups",
    "temp_c10": 42,
    "target_temp_c10": 40,
    "volume": 50,
    "light": 80,
    "compressor": 1,
    "planogram_version": 3,
    "faults": ["fan"],
    "doors": [
        {"door_no": 1, "lock": "locked", "door": "open", "busy": True, "session_no": "S1"},
        {"door_no": 2, "lock": "halfway", "door": None},
    ],
}
DEVICE = port.DeviceFact(
    device_code="XM-1",
    online=True,
    power="ups",
    temp_c10=42,
    target_temp_c10=40,
    volume=50,
    light=80,
    compressor=1,
    planogram_version=3,
    faults=("fan",),
    doors=(
        port.DoorFact(door_no=1, lock="locked", door="open", busy=True, session_no="S1"),
        port.DoorFact(door_no=2),
    ),
)


@pytest.mark.parametrize(
    ("event_type", "data", "kind", "more"),
    [
        ("device.online", {}, port.DeviceOnline, {}),
        ("device.offline", {}, port.DeviceOffline, {}),
        ("device.telemetry", TELEMETRY, port.Telemetry, {"fact": DEVICE}),
        (
            "device.alarm",
            {"kind": "temperature", "text": "12.0"},
            port.Alarm,
            {"kind": "temperature", "is_raised": True, "text": "12.0"},
        ),
        ("device.alarm_cleared", {"kind": "fan"}, port.Alarm, {"kind": "fan", "is_raised": False}),
        ("door.unlocked", {}, port.Unlocked, {}),
        ("door.opened", {}, port.DoorOpened, {}),
        ("door.closed", {}, port.DoorClosed, {}),
        ("door.locked", {}, port.Locked, {}),
        (
            "door.open_failed",
            {"fail_code": 3004},
            port.OpenFailed,
            {"reason": port.Reason.LOCK_FAILED},
        ),
        ("door.open_failed", {}, port.OpenFailed, {"reason": port.Reason.OTHER}),
        ("door.not_pulled", {"fail_code": 3003}, port.NotPulled, {}),
        ("order.pushed", speech.order(), port.OrderPushed, {"order": FACT}),
        (
            "order.abnormal",
            speech.order(abnormal_reasons=["camera"], video=None),
            port.OrderAbnormal,
            {"order": msgspec.structs.replace(FACT, abnormal=("camera",), video="")},
        ),
        (
            "order.rechecked",
            speech.order(rev=2, items=[], total_fen=0, candidates=[{"sku": "tea", "qty": 1}]),
            port.OrderRecheck,
            {
                "order": msgspec.structs.replace(
                    FACT,
                    rev=2,
                    items=(),
                    total_fen=0,
                    candidates=(port.Item(sku="tea", quantity=1),),
                )
            },
        ),
        (
            "video.ready",
            {"wheat_order_no": "X1", "slices": 2},
            port.VideoReady,
            {"vendor_order_no": "X1", "slices": 2},
        ),
        ("video.ready", {"wheat_order_no": "X1"}, port.VideoReady, {"vendor_order_no": "X1"}),
        ("video.failed", {"wheat_order_no": "X1"}, port.VideoFailed, {"vendor_order_no": "X1"}),
        ("planogram.changed", {"version": 4}, port.PlanogramChanged, {"version": 4}),
        (
            "goods.ack",
            {"results": [{"sku": "a", "code": 0}, {"sku": "b", "code": 5001, "msg": "no picture"}]},
            port.GoodsAck,
            {
                "results": (
                    port.GoodResult("a"),
                    port.GoodResult("b", port.Reason.GOODS_REJECTED, "no picture"),
                )
            },
        ),
    ],
)
def test_each_type_is_understood(
    event_type: str, data: object, kind: type[port.Event], more: dict[str, Any]
) -> None:
    raw = speech.event(event_type, data, event_id="ev_1")

    assert parse(raw) == kind(event_id="ev_1", **COMMON, **more)


def test_what_does_not_apply_may_be_left_out_or_be_null() -> None:
    raw = json.dumps(
        {
            "event_id": "ev_1",
            "event_type": "device.online",
            "occurred_at": NOW,
            "device_code": "XM-1",
            "door_no": None,
            "session_no": None,
        }
    ).encode()

    assert parse(raw) == port.DeviceOnline(event_id="ev_1", device_code="XM-1", occurred_at=NOW)


def test_a_type_that_is_not_known_is_kept_with_its_name() -> None:
    raw = speech.event("cabinet.dance" + "!" * 60, event_id="ev_1")

    found = parse(raw)

    assert isinstance(found, Unread)
    assert (found.event_id, found.device_code) == ("ev_1", "XM-1")
    assert found.event_type == ("cabinet.dance" + "!" * 60)[:40]


@pytest.mark.parametrize(
    "changes",
    [
        {"rev": 0},
        {"rev": "1"},
        {"rev": 2**31},
        {"total_fen": -1},
        {"total_fen": 7.5},
        {"total_fen": 2**60},
        {"certainty": "perhaps"},
        {"wheat_order_no": ""},
        {"wheat_order_no": "x" * 51},
        {"wheat_order_no": "x" * 65},
        {"items": None},
        {"items": [{"sku": "cola", "qty": 0}]},
        {"items": [{"sku": "cola", "qty": -2}]},
        {"items": [{"sku": "x" * 51, "qty": 1}]},
        {"items": [{"sku": "cola", "qty": 1, "price_fen": -350}]},
        {"items": [{"sku": "cola", "qty": 1}] * 501},
    ],
)
def test_an_order_that_makes_no_sense_is_nobodys_order(changes: dict[str, Any]) -> None:
    found = parse(speech.event("order.pushed", speech.order(**changes), event_id="ev_1"))

    assert isinstance(found, Unread)
    assert (found.event_id, found.device_code, found.event_type) == ("ev_1", "XM-1", "order.pushed")
    assert found.why


def test_of_an_orders_number_fifty_characters_are_taken_and_no_more() -> None:
    """The notes promise fifty; cut, two orders could be one."""
    longest = parse(speech.event("order.pushed", speech.order(wheat_order_no="x" * 50)))
    over = parse(speech.event("order.rechecked", speech.order(wheat_order_no="x" * 51)))

    assert isinstance(longest, port.OrderPushed)
    assert longest.order.vendor_order_no == "x" * 50
    assert isinstance(over, Unread)
    assert (over.event_type, over.why) == (
        "order.rechecked",
        "its number has 51 characters, over 50",
    )


@pytest.mark.parametrize(
    ("changes", "device_code"),
    [
        ({"device_code": "x" * 51}, ""),
        ({"device_code": 5}, ""),
        ({"occurred_at": None}, "XM-1"),
        ({"occurred_at": -5}, "XM-1"),
        ({"occurred_at": True}, "XM-1"),
        ({"door_no": "one"}, "XM-1"),
        ({"event_type": 7}, "XM-1"),
    ],
)
def test_an_event_of_which_only_the_id_can_be_read_is_kept_under_it(
    changes: dict[str, Any], device_code: str
) -> None:
    found = parse(speech.event("door.opened", **({"event_id": "ev_1"} | changes)))

    assert isinstance(found, Unread)
    assert (found.event_id, found.device_code) == ("ev_1", device_code)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"event_type":"door.opened"}',
        b'{"event_id":""}',
        b'{"event_id":7,"event_type":"door.opened","occurred_at":1}',
        b'{"event_id":"' + b"x" * 65 + b'"}',
    ],
)
def test_without_an_id_it_cannot_be_kept_apart(raw: bytes) -> None:
    with pytest.raises(BadCallback):
        parse(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    event_type=st.sampled_from([*callbacks._TYPES]) | st.text(),
    data=JSON,
    changes=st.dictionaries(
        st.sampled_from(["event_id", "device_code", "door_no", "seq", "occurred_at", "boot_id"]),
        JSON,
    ),
)
def test_whatever_comes_is_an_event_or_refused(
    event_type: str, data: object, changes: dict[str, Any]
) -> None:
    raw = speech.event(event_type, data, **changes)

    try:
        found = parse(raw)
    except BadCallback:
        return

    assert found.event_id == json.loads(raw)["event_id"]
    assert len(found.device_code) <= 50


@given(st.binary())
def test_bytes_that_are_no_event_are_refused(raw: bytes) -> None:
    with pytest.raises(BadCallback):
        parse(raw)


# ---------------------------------------------------------------- how it is answered


def test_an_acknowledgement_names_the_event() -> None:
    status, headers, body = callbacks.acknowledge("ev_1")

    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert body == b'{"code":0,"event_id":"ev_1"}'


@pytest.mark.parametrize(
    ("refusal", "status", "code", "word"),
    [
        (BadSignature(), 401, 1001, "SIGNATURE"),
        (Skewed(), 401, 1002, "SKEW"),
        (Replayed(), 401, 1003, "REPLAY"),
        (TooLarge(), 413, 1000, "TOO_LARGE"),
        (BadCallback(), 400, 1000, "BAD_REQUEST"),
    ],
)
def test_a_refusal_says_why_and_what_time_it_is(
    refusal: BadCallback, status: int, code: int, word: str
) -> None:
    answered, _, body = callbacks.refuse(refusal, now=NOW)

    assert answered == status
    assert json.loads(body) == {"code": code, "message": word, "server_time": NOW}


def test_overloaded_says_when_to_come_again() -> None:
    status, headers, body = callbacks.overloaded(retry_after_s=5)

    assert (status, headers["Retry-After"]) == (503, "5")
    assert json.loads(body) == {"code": 9002, "message": "OVERLOADED"}
