"""Payscore: bodies as documented, states judged by three fields, refusals by their number."""

import hashlib
import hmac
from typing import Any

import msgspec
import pytest

from payments.gateway import NumberUsed, Reaction, Refused, Unknown
from payments.wechat.errors import BadContent
from payments.wechat.errors_v3 import WrongState
from payments.wechat.payscore import (
    Cancelled,
    Item,
    NewService,
    Payscore,
    PayscoreService,
    Permission,
    RiskFund,
    RiskFundName,
)
from payments.wechat.payscore_model import (
    Deduction,
    OrderMessage,
    PaidBy,
    Phase,
    order_within,
    phase_of,
)
from payments.wechat.secrets import ApiV2Key
from payments.wechat.v3 import WeChatPayV3
from tests.clock import Clock
from tests.payments.wechat.v3.conftest import NOTIFY
from tests.payments.wechat.v3.orders import ORDER, OURS, PAID, SERVICE_ID
from tests.payments.wechat.v3.platform import APPID, MCH_ID, Platform

V2_KEY = "192006250b4c09247ec02edce69f6a2d"
ORDERS = "/v3/payscore/serviceorder"

NEW = NewService(
    out_order_no="S1",
    introduction="自助货柜",
    risk_fund=RiskFund(name=RiskFundName.ESTIMATE_ORDER_COST, amount_fen=10_000),
)
FEE = Item(name="商品", amount_fen=1_500, description="两件", count=2)


@pytest.fixture
def payscore(client: WeChatPayV3, clock: Clock) -> Payscore:
    service = PayscoreService(
        service_id=SERVICE_ID, appid=APPID, notify_url=NOTIFY, view_key=ApiV2Key(V2_KEY)
    )
    return Payscore(
        client, service, now=clock.now, nonce=lambda: "zyx53Nkey8o4bHpxTQvd8m7e92nG5mG2"
    )


# ---------------------------------------------------------------- where an order is


@pytest.mark.parametrize(
    ("state", "description", "collected", "phase"),
    [
        ("CREATED", "", "", Phase.CREATED),
        ("DOING", "USER_CONFIRM", "", Phase.RUNNING),
        ("DOING", "MCH_COMPLETE", "USER_PAYING", Phase.COLLECTING),
        ("DOING", "MCH_COMPLETE", "", Phase.COLLECTING),
        # The three fields do not agree: not final, to be asked again.
        ("DOING", "USER_CONFIRM", "USER_PAYING", Phase.COLLECTING),
        ("DOING", "MCH_COMPLETE", "USER_PAID", Phase.COLLECTING),
        ("DONE", "", "USER_PAYING", Phase.COLLECTING),
        ("DONE", "", "", Phase.COLLECTING),
        ("DONE", "", "USER_PAID", Phase.PAID),
        ("REVOKED", "", "", Phase.CANCELLED),
        ("EXPIRED", "", "", Phase.EXPIRED),
    ],
)
def test_three_fields_say_where_an_order_is(
    state: str, description: str, collected: str, phase: Phase
) -> None:
    message = order_message(
        state=state,
        state_description=description,
        collection={"state": collected, "paid_amount": 1_500 if collected == "USER_PAID" else 0},
    )

    assert phase_of(message) is phase


@pytest.mark.parametrize(
    ("changed", "phase"),
    [
        ({}, Phase.FREE),
        ({"collection": {"state": "USER_PAID"}}, Phase.FREE),
        ({"collection": {"state": "USER_PAYING"}}, Phase.COLLECTING),
        ({"need_collection": True}, Phase.COLLECTING),
        ({"collection": {"state": "USER_PAID", "paid_amount": 5}}, Phase.PAID),
    ],
)
def test_what_costs_nothing_is_done_at_once(changed: dict[str, Any], phase: Phase) -> None:
    message = order_message(**({"state": "DONE", "total_amount": 0} | changed))

    assert phase_of(message) is phase


def test_half_of_the_money_is_not_all_of_it() -> None:
    half = {"state": "USER_PAID", "paid_amount": 700}

    assert phase_of(order_message(state="DONE", collection=half)) is Phase.COLLECTING


@pytest.mark.parametrize(
    "changed",
    [
        {"state": "CLOSED"},
        {"state": ""},
        {"state": "DOING", "state_description": "WHO_KNOWS"},
        {"state": "DONE", "collection": {"state": "WAIT_PAY"}},
        {"total_amount": -1},
        {"out_order_no": ""},
        {"collection": {"details": [{"paid_type": "NEWTON", "paid_time": "20261120120006"}]}},
        {"collection": {"details": [{"paid_type": "", "transaction_id": "42"}]}},
        {"collection": {"details": [{"paid_type": "MCH", "paid_time": "2026"}]}},
    ],
)
def test_what_cannot_be_is_bad_content(changed: dict[str, Any]) -> None:
    with pytest.raises(BadContent):
        order_within(order_message(**({"state": "CREATED"} | changed)))


def test_money_over_wechat_is_a_fact_and_other_money_is_not(clock: Clock) -> None:
    paid = PAID | {
        "collection": {
            "state": "USER_PAID",
            "paid_amount": 1_500,
            "details": [
                *PAID["collection"]["details"],
                {"seq": 2, "amount": 5, "paid_type": "MCH", "paid_time": "20261120120007"},
                {"seq": 3, "amount": 5},
            ],
        }
    }

    order = order_within(msgspec.convert(paid, OrderMessage))

    assert [d.paid_by for d in order.deductions] == [PaidBy.WECHAT, PaidBy.OUTSIDE]
    assert order.deductions[0] == Deduction(
        seq=1,
        amount_fen=1_500,
        paid_by=PaidBy.WECHAT,
        paid_at=clock.now() + 6_000,
        transaction_id="4200000009",
    )
    (fact,) = order.facts(source="notify")
    assert (fact.out_trade_no, fact.transaction_id) == ("S1", "4200000009")
    assert (fact.amount_fen, fact.openid, fact.appid) == (1_500, "o-1", APPID)
    assert (fact.paid_at, fact.source) == (clock.now() + 6_000, "notify")


def order_message(**changed: Any) -> OrderMessage:
    return msgspec.convert(ORDER | {"total_amount": 1_500} | changed, OrderMessage)


# ---------------------------------------------------------------- an order's life


async def test_an_order_is_created(payscore: Payscore, platform: Platform) -> None:
    platform.says(ORDER | {"package": "DJIOSQPYWDxsjdldeuwhdodwxasd_dDiodnwjh9we"})

    order = await payscore.create(NEW)

    assert (order.phase, order.package[:4]) == (Phase.CREATED, "DJIO")
    assert platform.paths == [f"POST {ORDERS}"]
    assert platform.bodies == [
        OURS
        | {
            "out_order_no": "S1",
            "service_introduction": "自助货柜",
            "time_range": {"start_time": "OnAccept"},
            "risk_fund": {"name": "ESTIMATE_ORDER_COST", "amount": 10_000},
            "notify_url": NOTIFY,
            "need_user_confirm": True,
        }
    ]


async def test_an_order_tells_all_that_is_known_of_it(
    payscore: Payscore, platform: Platform, clock: Clock
) -> None:
    platform.says(ORDER | {"state": "DOING", "state_description": "USER_CONFIRM"})

    order = await payscore.create(
        msgspec.structs.replace(
            NEW,
            starts_at=clock.now(),
            openid="o-1",
            needs_confirming=False,
            fees=[FEE],
            discounts=[Item(name="会员", amount_fen=100)],
            location="一号楼",
            device_id="HG100D001",
            attach="door=7",
            risk_fund=msgspec.structs.replace(NEW.risk_fund, description="预估费用"),
        )
    )

    assert order.phase is Phase.RUNNING
    (body,) = platform.bodies
    assert body["time_range"] == {"start_time": "20261120120000"}
    assert (body["openid"], body["need_user_confirm"], body["attach"]) == ("o-1", False, "door=7")
    assert body["post_payments"] == [
        {"name": "商品", "amount": 1_500, "description": "两件", "count": 2}
    ]
    assert body["post_discounts"] == [{"name": "会员", "amount": 100}]
    assert body["location"] == {"start_location": "一号楼"}
    assert body["device"] == {"start_device_id": "HG100D001"}
    assert body["risk_fund"]["description"] == "预估费用"


@pytest.mark.parametrize(
    "changed",
    [
        {"out_order_no": "S 1"},
        {"out_order_no": "x" * 33},
        {"introduction": ""},
        {"introduction": "一" * 21},
        {"risk_fund": RiskFund(name=RiskFundName.DEPOSIT, amount_fen=0)},
        {"risk_fund": RiskFund(name=RiskFundName.DEPOSIT, amount_fen=1, description="一" * 31)},
        {"attach": "x" * 257},
        {"needs_confirming": False},
        {"fees": [FEE] * 101},
        {"discounts": [FEE] * 31},
        {"fees": [Item(name="", amount_fen=1)]},
        {"fees": [Item(name="a", amount_fen=-1)]},
        {"fees": [Item(name="a", amount_fen=1, count=101)]},
        {"fees": [Item(name="a", amount_fen=1, description="一" * 31)]},
    ],
)
async def test_what_wechat_would_not_take_is_not_sent(
    payscore: Payscore, platform: Platform, changed: dict[str, Any]
) -> None:
    with pytest.raises(Refused) as refused:
        await payscore.create(msgspec.structs.replace(NEW, **changed))

    assert refused.value.reaction is Reaction.BUG
    assert platform.requests == []


async def test_other_data_under_the_same_number_is_told(
    payscore: Payscore, platform: Platform
) -> None:
    platform.refuses("INVALID_REQUEST", number=271316598)

    with pytest.raises(NumberUsed):
        await payscore.create(NEW)


@pytest.mark.parametrize("number", [271300099, 271299627, 268560785])
async def test_a_user_without_trust_is_told(
    payscore: Payscore, platform: Platform, number: int
) -> None:
    platform.refuses("RULE_LIMIT", status=403, number=number)

    with pytest.raises(Refused) as refused:
        await payscore.create(NEW)

    assert refused.value.reaction is Reaction.TELL_USER


async def test_an_order_is_queried(payscore: Payscore, platform: Platform) -> None:
    platform.says(PAID)

    order = await payscore.query("S1")

    assert order is not None
    assert (order.phase, order.total_fen, order.paid_fen) == (Phase.PAID, 1_500, 1_500)
    assert platform.paths == [f"GET {ORDERS}?appid={APPID}&service_id=500001&out_order_no=S1"]


@pytest.mark.parametrize(
    ("code", "number"), [("ORDER_NOT_EXIST", 0), ("INVALID_REQUEST", 271317510)]
)
async def test_an_order_that_never_arrived_is_none(
    payscore: Payscore, platform: Platform, code: str, number: int
) -> None:
    platform.refuses(code, status=404, number=number)

    assert await payscore.query("S1") is None


async def test_another_refusal_of_the_query_stays_one(
    payscore: Payscore, platform: Platform
) -> None:
    platform.refuses("NO_AUTH", status=403, number=268503786)

    with pytest.raises(Refused):
        await payscore.query("S1")


@pytest.mark.parametrize(
    "changed", [{"out_order_no": "S2"}, {"mchid": "1"}, {"state": "CLOSED"}, {"out_order_no": ""}]
)
async def test_an_answer_about_another_order_is_unknown(
    payscore: Payscore, platform: Platform, changed: dict[str, str]
) -> None:
    platform.says(ORDER | changed)

    with pytest.raises(Unknown):
        await payscore.query("S1")


async def test_the_fee_is_asked_for(payscore: Payscore, platform: Platform, clock: Clock) -> None:
    platform.says(
        ORDER
        | {
            "state": "DOING",
            "state_description": "MCH_COMPLETE",
            "total_amount": 1_400,
            "collection": {"state": "USER_PAYING", "paying_amount": 1_400},
        }
    )

    order = await payscore.complete(
        "S1", fees=[FEE], discounts=[Item(name="会员", amount_fen=100)], ended_at=clock.now()
    )

    assert order.phase is Phase.COLLECTING
    assert platform.paths == [f"POST {ORDERS}/S1/complete"]
    (body,) = platform.bodies
    assert body == OURS | {
        "post_payments": [{"name": "商品", "amount": 1_500, "description": "两件", "count": 2}],
        "post_discounts": [{"name": "会员", "amount": 100}],
        "total_amount": 1_400,
        # Five seconds ago, for the sake of clocks.
        "time_range": {"end_time": "20261120115955"},
    }


async def test_nothing_taken_costs_nothing(
    payscore: Payscore, platform: Platform, clock: Clock
) -> None:
    platform.says(ORDER | {"state": "DONE", "total_amount": 0, "need_collection": False})

    order = await payscore.complete(
        "S1", fees=[Item(name="商品", amount_fen=0)], ended_at=clock.now()
    )

    assert order.phase is Phase.FREE
    assert platform.bodies[0]["total_amount"] == 0
    assert platform.bodies[0]["post_payments"] == [{"name": "商品", "amount": 0}]


async def test_a_short_service_does_not_end_before_its_start(
    payscore: Payscore, platform: Platform, clock: Clock
) -> None:
    platform.says(ORDER | {"state": "DONE"})

    await payscore.complete("S1", fees=[FEE], started_at=clock.now() - 2_000, ended_at=clock.now())

    assert platform.bodies[0]["time_range"] == {"end_time": "20261120115959"}


@pytest.mark.parametrize(
    ("fees", "discounts"), [([], []), ([FEE], [Item(name="a", amount_fen=1_501)])]
)
async def test_a_fee_below_nothing_is_not_asked_for(
    payscore: Payscore, clock: Clock, fees: list[Item], discounts: list[Item]
) -> None:
    with pytest.raises(Refused):
        await payscore.complete("S1", fees=fees, discounts=discounts, ended_at=clock.now())


async def test_a_fee_is_lowered(payscore: Payscore, platform: Platform) -> None:
    platform.says(PAID)

    await payscore.modify("S1", fees=[Item(name="商品", amount_fen=0)], reason="商品缺损")

    assert platform.paths == [f"POST {ORDERS}/S1/modify"]
    assert platform.bodies[0]["reason"] == "商品缺损"
    assert platform.bodies[0]["total_amount"] == 0


async def test_a_fee_that_is_paid_is_not_lowered(payscore: Payscore, platform: Platform) -> None:
    platform.refuses("INVALID_REQUEST", number=271316657)

    with pytest.raises(WrongState):
        await payscore.modify("S1", fees=[FEE], reason="商品缺损")


async def test_money_that_came_otherwise_is_told(
    payscore: Payscore, platform: Platform, clock: Clock
) -> None:
    platform.says(PAID)

    await payscore.sync_paid("S1", paid_at=clock.now())

    assert platform.paths == [f"POST {ORDERS}/S1/sync"]
    assert platform.bodies == [
        OURS | {"type": "Order_Paid", "detail": {"paid_time": "20261120120000"}}
    ]


async def test_an_order_is_cancelled(payscore: Payscore, platform: Platform) -> None:
    platform.says(ORDER | {"state": "REVOKED"})

    assert await payscore.cancel("S1", reason="门未打开") is Cancelled.NOW

    assert platform.paths == [f"POST {ORDERS}/S1/cancel"]
    assert platform.bodies == [OURS | {"reason": "门未打开"}]


@pytest.mark.parametrize(
    ("number", "outcome"),
    [(271302333, Cancelled.BEFORE), (271302332, Cancelled.LEFT_TO_EXPIRE)],
)
async def test_an_order_that_needs_no_cancelling_is_left(
    payscore: Payscore, platform: Platform, number: int, outcome: Cancelled
) -> None:
    platform.refuses("INVALID_REQUEST", number=number)

    assert await payscore.cancel("S1", reason="门未打开") is outcome


async def test_an_order_whose_fee_was_asked_for_is_not_cancelled(
    payscore: Payscore, platform: Platform
) -> None:
    platform.refuses("INVALID_REQUEST", number=271316592)

    with pytest.raises(WrongState):
        await payscore.cancel("S1", reason="门未打开")


@pytest.mark.parametrize("reason", ["", "一" * 51])
async def test_reasons_have_a_length(payscore: Payscore, reason: str) -> None:
    with pytest.raises(Refused):
        await payscore.cancel("S1", reason=reason)
    with pytest.raises(Refused):
        await payscore.modify("S1", fees=[FEE], reason=reason)


# ---------------------------------------------------------------- permissions

PERMISSIONS = "/v3/payscore/permissions"


async def test_a_permission_is_asked_for(payscore: Payscore, platform: Platform) -> None:
    platform.says({"apply_permissions_token": "token-1"})

    token = await payscore.authorize("A1")

    assert payscore.permission_view(token) == {
        "businessType": "wxpayScoreEnable",
        "extraData": {"apply_permissions_token": "token-1"},
    }
    assert platform.bodies == [OURS | {"authorization_code": "A1", "notify_url": NOTIFY}]


async def test_a_permission_is_found_by_code_and_by_user(
    payscore: Payscore, platform: Platform
) -> None:
    platform.says({"authorization_state": "AVAILABLE", "openid": "o-1", "authorization_code": "A1"})
    platform.says({"authorization_state": "UNAVAILABLE"})

    granted = await payscore.permission(authorization_code="A1")
    refused = await payscore.permission(openid="o-1")

    assert granted == Permission(is_granted=True, openid="o-1", authorization_code="A1")
    assert not refused.is_granted
    assert platform.paths == [
        f"GET {PERMISSIONS}/authorization-code/A1?service_id=500001",
        f"GET {PERMISSIONS}/openid/o-1?appid={APPID}&service_id=500001",
    ]


async def test_a_permission_nobody_knows_of_is_not_granted(
    payscore: Payscore, platform: Platform
) -> None:
    platform.refuses("RESOURCE_NOT_EXISTS", status=404)
    platform.refuses("NO_AUTH", status=403)

    assert await payscore.permission(openid="o-1") == Permission(is_granted=False)
    with pytest.raises(Refused):
        await payscore.permission(openid="o-1")


async def test_a_permission_is_given_back(payscore: Payscore, platform: Platform) -> None:
    platform.says(b"", status=204)
    platform.says(b"", status=204)

    await payscore.revoke_permission(openid="o-1", reason="用户注销")
    await payscore.revoke_permission(authorization_code="A1", reason="用户注销")

    assert platform.paths == [
        f"POST {PERMISSIONS}/openid/o-1/terminate",
        f"POST {PERMISSIONS}/authorization-code/A1/terminate",
    ]
    assert platform.bodies == [
        OURS | {"reason": "用户注销"},
        {"service_id": "500001", "reason": "用户注销"},
    ]


@pytest.mark.parametrize("both", [{}, {"authorization_code": "A1", "openid": "o-1"}])
async def test_a_permission_is_named_in_one_way(payscore: Payscore, both: dict[str, str]) -> None:
    with pytest.raises(Refused):
        await payscore.permission(**both)


# ---------------------------------------------------------------- WeChat's own pages


def test_the_page_that_confirms_is_signed_with_the_key_of_version_2(
    payscore: Payscore, clock: Clock
) -> None:
    view = payscore.confirm_view("XXXXXXXX")

    seconds = clock.now() // 1000
    message = (
        f"mch_id={MCH_ID}&nonce_str=zyx53Nkey8o4bHpxTQvd8m7e92nG5mG2&package=XXXXXXXX"
        f"&sign_type=HMAC-SHA256&timestamp={seconds}&key={V2_KEY}"
    )
    sign = hmac.new(V2_KEY.encode(), message.encode(), hashlib.sha256).hexdigest().upper()
    assert view == {
        "businessType": "wxpayScoreUse",
        "extraData": {
            "mch_id": MCH_ID,
            "package": "XXXXXXXX",
            "timestamp": str(seconds),
            "nonce_str": "zyx53Nkey8o4bHpxTQvd8m7e92nG5mG2",
            "sign_type": "HMAC-SHA256",
            "sign": sign,
        },
    }


def test_the_page_that_shows_an_order_is_signed_over_its_number(payscore: Payscore) -> None:
    view = payscore.detail_view("S1")

    assert view["businessType"] == "wxpayScoreDetail"
    assert list(view["extraData"]) == [
        "mch_id",
        "service_id",
        "out_order_no",
        "timestamp",
        "nonce_str",
        "sign_type",
        "sign",
    ]
