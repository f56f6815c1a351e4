"""The signature by the published example, and who is turned away at the gate."""

import hashlib

import pytest

from simulators.xiaomai import KEY_ID, SECRET, Xiaomai
from simulators.xiaomai.signing import Signed, new_nonce, sorted_query
from tests.simulators.xiaomai.customer import Customer

BODY = (
    b'{"event_id":"ev_0001","event_type":"order.pushed",'
    b'"wheat_order_no":"XM20250101000001","amount_fen":1250}'
)
BODY_HASH = "45e63f8dabd00d9bfc268106c744b2e0d511271ecbd25d9b340732c622d559c9"
SIGN = "5414ad8fe55269fd915893567628401d2cb478618ea455d9668f1e7d73dd022d"
EXAMPLE = Signed(
    path="/cb/xiaomai/ep_demo/events",
    query="a=1&b=%E5%B0%8F",
    timestamp="1735689600",
    nonce="N0nceN0nceN0nce01",
    body=BODY,
)
STATUS = {"device_codes": ["D1"]}


def test_the_published_example_is_signed_as_published() -> None:
    assert hashlib.sha256(BODY).hexdigest() == BODY_HASH
    assert EXAMPLE.sign("xm_test_secret_0123456789abcdef") == SIGN


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        ("", ""),
        ("b=小&a=1", "a=1&b=%E5%B0%8F"),
        ("b=2&a=2&a=1&c=", "a=1&a=2&b=2&c="),
        ("a=x+y~z", "a=x%20y~z"),
    ],
)
def test_a_query_is_sorted_and_encoded(query: str, canonical: str) -> None:
    assert sorted_query(query) == canonical


def test_a_nonce_is_as_the_contract_says() -> None:
    assert {len(new_nonce()) for _ in range(20)} == {24}
    assert len({new_nonce() for _ in range(20)}) == 20


async def test_who_signs_rightly_is_answered(customer: Customer) -> None:
    answer = await customer.ask("device/status", **STATUS)

    assert (answer["code"], answer["message"]) == (0, "ok")
    assert answer["server_time"] == customer.sim.now_ms()
    assert [device["device_code"] for device in answer["data"]] == ["D1"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"secret": "another"}, 1001),
        ({"sign": "0" * 64}, 1001),
        ({"app_id": "xm_app_other"}, 1001),
        ({"key_id": "k9"}, 1001),
        ({"nonce": "short"}, 1001),
        ({"nonce": "nonce-with-hyphens-in-it"}, 1001),
        ({"timestamp": "noon"}, 1001),
        ({"timestamp": "1735689600"}, 1002),
    ],
)
async def test_who_does_not_is_told_why(
    customer: Customer, changes: dict[str, str], code: int
) -> None:
    answer = (await customer.post("device/status", STATUS, **changes)).json()

    assert answer["code"] == code
    assert answer["data"] is None
    assert answer["server_time"] == customer.sim.now_ms()


@pytest.mark.parametrize(("off_s", "code"), [(300, 0), (301, 1002), (-300, 0), (-301, 1002)])
async def test_five_minutes_are_allowed(customer: Customer, off_s: int, code: int) -> None:
    timestamp = str(int(customer.sim.clock.now_s()) + off_s)

    answer = await customer.post("device/status", STATUS, timestamp=timestamp)

    assert answer.json()["code"] == code


async def test_the_same_request_has_the_same_answer_and_another_is_a_replay(
    customer: Customer, sim: Xiaomai
) -> None:
    nonce = "abcdefghij0123456789"
    first = await customer.post("device/status", STATUS, nonce=nonce)
    again = await customer.post("device/status", STATUS, nonce=nonce)
    other = await customer.post("device/status", {"device_codes": ["D2"]}, nonce=nonce)
    sim.clock.advance(601)
    later = await customer.post("device/status", {"device_codes": ["D2"]}, nonce=nonce)

    assert again.content == first.content
    assert other.json()["code"] == 1003
    assert later.json()["code"] == 2001


async def test_two_keys_are_good_while_one_takes_the_others_place(
    customer: Customer, sim: Xiaomai
) -> None:
    sim.gate.keys = {KEY_ID: SECRET, "k2": "another-secret"}

    old = await customer.post("device/status", STATUS)
    new = await customer.post("device/status", STATUS, key_id="k2", secret="another-secret")
    mixed = await customer.post("device/status", STATUS, key_id="k2")

    assert [r.json()["code"] for r in (old, new, mixed)] == [0, 0, 1001]


async def test_a_disabled_application_and_too_many_requests(
    customer: Customer, sim: Xiaomai
) -> None:
    sim.gate.rate_per_s = 2
    codes = [await customer.code("device/status", **STATUS) for _ in range(3)]
    refused = await customer.post("device/status", STATUS)
    sim.clock.advance(1)
    codes.append(await customer.code("device/status", **STATUS))
    sim.gate.is_disabled = True
    codes.append(await customer.code("device/status", **STATUS))

    assert codes == [0, 0, 1005, 0, 1004]
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
