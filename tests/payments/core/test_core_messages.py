"""What needs no database: times of asking, what crosses the wire, the picture of a code."""

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from payments.messages import (
    Explanation,
    PayNew,
    RefundDecision,
    RefundNew,
    difference_out,
    payment_out,
    refund_out,
)
from payments.model import (
    ASK_PATIENCE_MS,
    MINUTE_MS,
    Difference,
    beijing_day,
    day_bounds,
    next_ask,
    next_look,
)
from payments.qr import QrOptions, qr_png
from tests.clock import NOON, Clock
from tests.payments.core.qr_reader import read_qr
from tests.payments.core.till import Till

CODE_URL = "weixin://wxpay/bizpayurl?pr=p4lpSuKzz"
HOURS_2 = 120 * MINUTE_MS


# ---------------------------------------------------------------- times


def test_an_attempt_is_asked_about_at_its_times_and_at_its_end() -> None:
    now, asked = 0, []

    while now < HOURS_2:
        later = next_ask(since=0, until=HOURS_2, now=now)
        assert later is not None
        now = later
        asked.append(now // MINUTE_MS)

    assert asked == [1, 2, 5, 10, 30, 60, 90, 120]


def test_after_its_end_it_is_closed_soon_then_hourly_then_by_a_person() -> None:
    after = [next_ask(since=0, until=HOURS_2, now=HOURS_2 + late) for late in (0, HOURS_2)]

    assert after == [HOURS_2 + 5 * MINUTE_MS, 2 * HOURS_2 + 60 * MINUTE_MS]
    assert next_ask(since=0, until=0, now=ASK_PATIENCE_MS) is None


@given(st.integers(0, 10**10), st.integers(-(10**10), 10**10))
def test_the_next_time_is_always_to_come(since: int, passed: int) -> None:
    now = since + passed
    later = next_ask(since=since, until=since + HOURS_2, now=now)

    assert later is None or later > now
    assert next_look(since=since, now=now) > now


def test_a_refund_is_looked_at_soon_and_then_four_times_a_day() -> None:
    day = 24 * 60 * MINUTE_MS

    assert next_look(since=0, now=0) == MINUTE_MS
    assert next_look(since=0, now=31 * MINUTE_MS) == 60 * MINUTE_MS
    assert next_look(since=0, now=day) == day + 360 * MINUTE_MS


def test_a_day_is_beijings() -> None:
    begins, ends = day_bounds(20261120)

    assert ends - begins == 24 * 60 * MINUTE_MS
    assert [beijing_day(at) for at in (begins - 1, begins, ends - 1, ends)] == [
        20261119,
        20261120,
        20261120,
        20261121,
    ]
    assert begins + 12 * 60 * MINUTE_MS == Clock(NOON).now()


# ---------------------------------------------------------------- messages


async def test_what_a_client_sees_of_a_payment(till: Till) -> None:
    debt = await till.owe(300)
    number = (await till.pay(debt)).out_trade_no
    live = payment_out(*await till.payments.payment(number))
    till.clock.advance(seconds=1.5)
    await till.payments.apply(till.bank.pay(number))

    paid = payment_out(*await till.payments.payment(number))

    assert live.code_url is not None
    assert (live.is_paid, live.state, live.ended_at) == (False, "submitted", None)
    assert msgspec.to_builtins(paid) == {
        "out_trade_no": number,
        "kind": "stall.months",
        "description": "三个月",
        "amount_fen": 300,
        "refunded_fen": 0,
        "trade_type": "NATIVE",
        "state": "success",
        "debt_state": "paid",
        "is_paid": True,
        "code_url": None,
        "created_at": "2026-11-20T04:00:00.000Z",
        "expires_at": "2026-11-20T06:00:00.000Z",
        "ended_at": "2026-11-20T04:00:01.500Z",
    }


async def test_what_staff_see_of_a_refund(till: Till) -> None:
    _, number = await till.paid(300)
    refund = await till.refund(number, 100)

    out = msgspec.to_builtins(refund_out(refund))

    assert out == {
        "out_refund_no": refund.out_refund_no,
        "out_trade_no": number,
        "amount_fen": 100,
        "total_fen": 300,
        "reason": "坏了",
        "status": "requested",
        "asked_by": 11,
        "created_at": "2026-11-20T04:00:00.000Z",
        "requested_at": "2026-11-20T04:00:00.000Z",
        "ended_at": None,
        "failure": "",
    }


def test_what_staff_see_of_a_difference() -> None:
    found = Difference(
        id=1,
        day=20261119,
        kind="payment.amount",
        number="n",
        here_fen=1,
        there_fen=2,
        found_at=0,
        explained_at=None,
        explained_by=0,
        explanation="",
    )

    out = difference_out(found)

    assert (out.kind, out.found_at) == ("payment.amount", "1970-01-01T00:00:00.000Z")
    assert (out.explained_at, out.there_fen) == (None, 2)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (PayNew, {"trade_type": "APP"}),
        (PayNew, {}),
        (RefundNew, {"amount_fen": 0, "reason": "r"}),
        (RefundNew, {"amount_fen": 1.5, "reason": "r"}),
        (RefundNew, {"amount_fen": "1", "reason": "r"}),
        (RefundNew, {"amount_fen": 1}),
        (RefundNew, {"amount_fen": 1, "reason": ""}),
        (RefundNew, {"amount_fen": 1, "reason": "  "}),
        (RefundNew, {"amount_fen": 1, "reason": "a\nb"}),
        (RefundNew, {"amount_fen": 1, "reason": "a\n"}),
        (RefundNew, {"amount_fen": 1, "reason": "r" * 81}),
        (RefundNew, {"amount_fen": 1, "reason": "r", "refund_key": "with space"}),
        (RefundDecision, {"reason": "r" * 201}),
        (Explanation, {"text": "t" * 401}),
    ],
)
def test_what_is_not_a_request_is_refused(kind: type, body: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(body, kind)


def test_the_longest_that_is_allowed() -> None:
    request = {"amount_fen": 1, "reason": "换" * 80, "refund_key": "k" * 100}

    assert msgspec.convert(request, RefundNew).amount_fen == 1


# ---------------------------------------------------------------- the picture


def test_a_code_is_drawn_as_the_defaults_say_and_reads_as_the_url() -> None:
    png = qr_png(CODE_URL)
    picture = Image.open(io.BytesIO(png))

    assert picture.format == "PNG"
    assert picture.size == (100, 100)
    assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert read_qr(png) == (CODE_URL, "L")


@pytest.mark.parametrize("level", ["L", "M", "Q", "H"])
@pytest.mark.parametrize("size", [21, 250, 333, 2000])
def test_every_size_and_level_reads_as_the_url(level: str, size: int) -> None:
    options = msgspec.convert({"size": size, "level": level}, QrOptions)

    png = qr_png(CODE_URL, options)

    assert read_qr(png) == (CODE_URL, level)
    width, height = Image.open(io.BytesIO(png)).size
    assert width == height
    # One too small for the code is as small as the code allows.
    assert width == size or (size == 21 and width < 60)


def test_the_colours_can_be_chosen() -> None:
    options = QrOptions(foreground="#102030", background="#fff0e0", size=150)

    png = qr_png(CODE_URL, options)

    assert read_qr(png, dark=(0x10, 0x20, 0x30)) == (CODE_URL, "L")
    assert Image.open(io.BytesIO(png)).convert("RGB").getpixel((0, 0)) == (0xFF, 0xF0, 0xE0)


@pytest.mark.parametrize(
    "options",
    [
        {"size": 20},
        {"size": 2001},
        {"level": "X"},
        {"foreground": "red"},
        {"background": "#ffff\n"},
    ],
)
def test_other_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(options, QrOptions)
