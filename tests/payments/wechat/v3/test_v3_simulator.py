"""The product's version 3 and the simulated WeChat Pay's, which share no line."""

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from payments.gateway import RefundOrder, RefundState, Refused, Unknown
from payments.wechat.errors_v3 import WrongState
from payments.wechat.keys import load_keys
from payments.wechat.notices_v3 import (
    Echoed,
    NoticeReader,
    PermissionChanged,
    RefundChanged,
    ServiceChanged,
)
from payments.wechat.payscore import (
    Cancelled,
    Item,
    NewService,
    Payscore,
    PayscoreService,
    RiskFund,
    RiskFundName,
)
from payments.wechat.payscore_model import Phase
from payments.wechat.secrets import ApiV2Key, ApiV3Key, MerchantKey
from payments.wechat.signing_v3 import Identity
from payments.wechat.v3 import AddressesV3, Echo, WeChatPayV3
from simulators.wechat import DINER_APPID, WeChat
from simulators.wechat.pay.faults import AnswerFault, NoticeFault, PayFault
from simulators.wechat.pay.merchant import API_V2_KEY, API_V3_KEY, MCH_ID, SERVICE_ID
from simulators.wechat.pay.posts import Event
from tests.clock import Clock
from tests.payments.wechat.v3.receiver import Receiver


@pytest.fixture
async def sim(clock: Clock) -> AsyncIterator[WeChat]:
    sim = WeChat(start_s=clock.now() / 1000)
    await sim.start(port=0)
    yield sim
    await sim.stop()


MakeClient = Callable[..., WeChatPayV3]


@pytest.fixture
async def make_client(sim: WeChat) -> AsyncIterator[MakeClient]:
    """As an operator sets it up, from the files the merchant platform gives out."""
    given = {name: str(value) for name, value in sim.pay.introduction(sim.url).items()}
    identity = Identity.of_certificate(
        MCH_ID,
        MerchantKey(Path(given["merchant_key_file"]).read_bytes()),
        Path(given["merchant_cert_file"]).read_bytes(),
    )
    assert identity.serial == given["merchant_serial"]
    made = []

    def make(*, certificates: bool = True, public_keys: bool = True) -> WeChatPayV3:
        keys = load_keys(Path(given["platform_keys_dir"]))
        client = WeChatPayV3(
            identity,
            AddressesV3(api=sim.url, notify=""),
            ApiV3Key(API_V3_KEY),
            keys=[k for k in keys if (public_keys if k.is_public_key else certificates)],
            now=lambda: int(sim.clock.now_s() * 1000),
        )
        made.append(client)
        return client

    yield make
    for client in made:
        await client.aclose()


@pytest.fixture
def client(make_client: MakeClient) -> WeChatPayV3:
    return make_client()


@pytest.fixture
async def receiver(client: WeChatPayV3) -> AsyncIterator[Receiver]:
    reader = NoticeReader(
        client.keys, ApiV3Key(API_V3_KEY), mch_id=MCH_ID, appids=frozenset({DINER_APPID})
    )
    receiver = Receiver(reader)
    receiver.start()
    yield receiver
    await receiver.stop()


@pytest.fixture
def payscore(client: WeChatPayV3, sim: WeChat, receiver: Receiver) -> Payscore:
    service = PayscoreService(
        service_id=SERVICE_ID,
        appid=DINER_APPID,
        notify_url=receiver.url,
        view_key=ApiV2Key(API_V2_KEY),
    )
    return Payscore(client, service, now=lambda: int(sim.clock.now_s() * 1000))


NEW = NewService(
    out_order_no="S-1",
    introduction="自助货柜",
    risk_fund=RiskFund(name=RiskFundName.ESTIMATE_ORDER_COST, amount_fen=10_000),
)
FEE = Item(name="番茄鸡蛋面", amount_fen=1_500, count=2)


async def confirmed(sim: WeChat, payscore: Payscore) -> None:
    """The order S-1 is under way for a minute."""
    await payscore.create(NEW)
    sim.pay.score.confirm(sim.pay.score.all["S-1"], "o-1")
    await sim.pay.notifier.idle()
    sim.clock.advance(60)


async def completed(sim: WeChat, payscore: Payscore) -> str:
    """The order S-1 is paid. Its transaction_id."""
    await confirmed(sim, payscore)
    await payscore.complete("S-1", fees=[FEE], ended_at=int(sim.clock.now_s() * 1000))
    await sim.pay.notifier.idle()
    order = await payscore.query("S-1")
    assert order is not None
    (fact,) = order.facts(source="query")
    return fact.transaction_id


def phases(receiver: Receiver) -> list[Phase]:
    events = [notice.event for notice in receiver.told]
    return [event.order.phase for event in events if isinstance(event, ServiceChanged)]


def refund_of(transaction_id: str) -> RefundOrder:
    return RefundOrder(
        out_trade_no="",
        transaction_id=transaction_id,
        out_refund_no="R-1",
        total_fen=1_500,
        refund_fen=500,
        reason="少了一件",
    )


numbers = itertools.count(1)


def tell(sim: WeChat, receiver: Receiver) -> None:
    """A refund has come to its end, says the simulator."""
    number = f"R{next(numbers)}"
    resource = {
        "mchid": MCH_ID,
        "out_trade_no": "P1",
        "transaction_id": "4200000001",
        "out_refund_no": number,
        "refund_id": "50000000382019052709732678859",
        "refund_status": "SUCCESS",
        "success_time": "2026-11-20T12:00:00+08:00",
        "amount": {"total": 100, "refund": 100, "payer_total": 100, "payer_refund": 100},
    }
    event = Event("REFUND.SUCCESS", "退款成功", "refund", "refund", resource)
    sim.pay.tell_v3("v3_refund", number, receiver.url, event)


# ---------------------------------------------------------------- notifications


async def test_a_notification_is_believed_and_acknowledged(sim: WeChat, receiver: Receiver) -> None:
    tell(sim, receiver)
    await sim.pay.notifier.idle()

    (notice,) = receiver.told
    assert isinstance(notice.event, RefundChanged)
    assert sim.pay.notifier.all[-1].state == "delivered"


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("signtest", "Probe"),
        ("forged_sign", "BadSignature"),
        ("missing_sign", "BadSignature"),
        ("old_timestamp", "Stale"),
        ("unknown_serial", "UnknownKey"),
        ("nonsense", "BadContent"),
    ],
)
async def test_a_spoilt_notification_is_refused_and_comes_again(
    sim: WeChat, receiver: Receiver, client: WeChatPayV3, kind: NoticeFault, why: str
) -> None:
    await client.keys.refresh_due()
    sim.pay.faults.add(PayFault(endpoint="notify.v3_refund", kind=kind))

    tell(sim, receiver)
    await sim.pay.notifier.idle()
    assert (receiver.told, receiver.refused) == ([], [why])
    sim.clock.advance(15)
    await sim.pay.notifier.idle()

    assert len(receiver.told) == 1
    assert receiver.reader.probes == (1 if kind == "signtest" else 0)


@pytest.mark.parametrize("share", [0, 50, 100])
async def test_the_switch_to_the_public_key_goes_unnoticed(
    sim: WeChat, receiver: Receiver, share: int
) -> None:
    sim.pay.settings.public_key_share = share

    for _ in range(10):
        tell(sim, receiver)
    await sim.pay.notifier.idle()

    assert (len(receiver.told), receiver.refused) == (10, [])


# ---------------------------------------------------------------- keys that change


async def test_a_new_certificate_is_taken_up_by_client_and_notifications(
    sim: WeChat, make_client: MakeClient, clock: Clock
) -> None:
    client = make_client(public_keys=False)
    reader = NoticeReader(
        client.keys, ApiV3Key(API_V3_KEY), mch_id=MCH_ID, appids=frozenset({DINER_APPID})
    )
    receiver = Receiver(reader)
    receiver.start()
    for stage in ("publish", "switch", "retire"):
        sim.pay.platform.turn(stage)

        sim.clock.advance(60)
        tell(sim, receiver)
        await sim.pay.notifier.idle()
        assert (await client.query_refund("R-0")).state is RefundState.NOT_FOUND
    await receiver.stop()

    assert (len(receiver.told), receiver.refused) == (3, [])
    # The old one is kept until it expires: it may still be on its way in some message.
    assert len(client.keys.all()) == 2


async def test_a_merchant_with_nothing_but_the_apiv3_key_begins(
    make_client: MakeClient,
) -> None:
    client = make_client(certificates=False, public_keys=False)

    assert (await client.query_refund("R-0")).state is RefundState.NOT_FOUND


async def test_a_merchant_with_nothing_but_the_public_key_begins(
    sim: WeChat, make_client: MakeClient
) -> None:
    sim.pay.settings.certificates_available = False
    client = make_client(certificates=False)

    assert await client.certificates() == []
    assert await client.echo("你好") == Echo(has_echoed=True, has_decrypted=True)


async def test_the_echo_comes_back_and_around(
    sim: WeChat, make_client: MakeClient, receiver: Receiver
) -> None:
    client = make_client(public_keys=False)

    echo = await client.echo("你好", notify_url=receiver.url)
    await sim.pay.notifier.idle()

    assert echo == Echo(has_echoed=True, has_decrypted=True)
    assert [notice.event for notice in receiver.told] == [Echoed()]


# ---------------------------------------------------------------- the life of a service


async def test_a_service_is_used_paid_for_and_partly_paid_back(
    sim: WeChat, client: WeChatPayV3, payscore: Payscore, receiver: Receiver
) -> None:
    created = await payscore.create(NEW)
    again = await payscore.create(NEW)
    assert (created.phase, created.package) == (Phase.CREATED, again.package)

    transaction_id = await completed(sim, payscore)
    assert phases(receiver) == [Phase.RUNNING, Phase.PAID]
    paid = await payscore.query("S-1")
    assert paid is not None
    assert (paid.phase, paid.total_fen, paid.paid_fen) == (Phase.PAID, 1_500, 1_500)

    refunded = await client.refund(refund_of(transaction_id))
    await sim.pay.notifier.idle()

    assert refunded.out_refund_no == "R-1"
    assert (await client.query_refund("R-1")).state is RefundState.SUCCESS
    assert left_fen(sim) == 1_000


def left_fen(sim: WeChat) -> int:
    """What the simulator's own books say we have."""
    return sum(one.left_fen for one in sim.pay.ledger.sums().values())


async def test_wechat_goes_on_deducting_until_it_is_paid(
    sim: WeChat, payscore: Payscore, receiver: Receiver
) -> None:
    await confirmed(sim, payscore)
    sim.pay.score.failures_planned = 2

    order = await payscore.complete("S-1", fees=[FEE], ended_at=int(sim.clock.now_s() * 1000))
    await sim.pay.notifier.idle()
    assert order.phase is Phase.COLLECTING
    assert phases(receiver) == [Phase.RUNNING]
    for _ in range(2):
        sim.clock.advance(3600)
        await sim.pay.notifier.idle()

    assert phases(receiver) == [Phase.RUNNING, Phase.PAID]


async def test_the_fee_is_asked_for_again_with_the_same_words(
    sim: WeChat, payscore: Payscore
) -> None:
    await confirmed(sim, payscore)
    ended_at = int(sim.clock.now_s() * 1000)
    sim.pay.faults.add(PayFault(endpoint="v3.score.complete", kind="drop", is_done=True))

    with pytest.raises(Unknown):
        await payscore.complete("S-1", fees=[FEE], ended_at=ended_at)
    await payscore.complete("S-1", fees=[FEE], ended_at=ended_at)
    await sim.pay.notifier.idle()

    paid = await payscore.query("S-1")
    assert paid is not None
    assert paid.phase is Phase.PAID
    assert left_fen(sim) == 1_500


async def test_a_fee_is_lowered_to_nothing(sim: WeChat, payscore: Payscore) -> None:
    await confirmed(sim, payscore)
    sim.pay.settings.deduct_takes_s = 3600
    await payscore.complete("S-1", fees=[FEE], ended_at=int(sim.clock.now_s() * 1000))

    lower = await payscore.modify("S-1", fees=[Item(name="面", amount_fen=500)], reason="缺损")
    nothing = await payscore.modify("S-1", fees=[Item(name="面", amount_fen=0)], reason="缺损")

    assert (lower.phase, lower.total_fen) == (Phase.COLLECTING, 500)
    assert nothing.phase is Phase.FREE
    with pytest.raises(WrongState):
        await payscore.modify("S-1", fees=[Item(name="面", amount_fen=0)], reason="缺损")


async def test_nothing_taken_is_done_at_once(sim: WeChat, payscore: Payscore) -> None:
    await confirmed(sim, payscore)

    order = await payscore.complete(
        "S-1", fees=[Item(name="面", amount_fen=0)], ended_at=int(sim.clock.now_s() * 1000)
    )

    assert order.phase is Phase.FREE


async def test_money_that_came_otherwise_ends_the_deducting(
    sim: WeChat, payscore: Payscore
) -> None:
    await confirmed(sim, payscore)
    sim.pay.settings.deduct_takes_s = 3600
    now = int(sim.clock.now_s() * 1000)
    await payscore.complete("S-1", fees=[FEE], ended_at=now)

    order = await payscore.sync_paid("S-1", paid_at=now)

    assert order.phase is Phase.PAID
    assert order.facts(source="query") == []
    assert left_fen(sim) == 0


async def test_an_order_is_cancelled_before_the_fee_and_not_after(
    sim: WeChat, payscore: Payscore
) -> None:
    await confirmed(sim, payscore)

    assert await payscore.cancel("S-1", reason="门未打开") is Cancelled.NOW
    assert await payscore.cancel("S-1", reason="门未打开") is Cancelled.NOW
    assert await payscore.cancel("S-1", reason="另一个原因") is Cancelled.BEFORE

    order = await payscore.query("S-1")
    assert order is not None
    assert order.phase is Phase.CANCELLED
    with pytest.raises(WrongState):
        await payscore.complete("S-1", fees=[FEE], ended_at=int(sim.clock.now_s() * 1000))


async def test_a_paid_order_is_not_cancelled(sim: WeChat, payscore: Payscore) -> None:
    await completed(sim, payscore)

    with pytest.raises(WrongState):
        await payscore.cancel("S-1", reason="门未打开")


async def test_an_order_nobody_confirms_is_left_to_expire(sim: WeChat, payscore: Payscore) -> None:
    sim.pay.settings.created_cannot_cancel = True
    await payscore.create(NEW)

    assert await payscore.cancel("S-1", reason="超时") is Cancelled.LEFT_TO_EXPIRE
    sim.clock.advance(30 * 86_400)

    order = await payscore.query("S-1")
    assert order is not None
    assert order.phase is Phase.EXPIRED


async def test_what_was_never_created_is_none(payscore: Payscore) -> None:
    assert await payscore.query("S-0") is None


async def test_a_permission_spares_the_confirming(
    sim: WeChat, payscore: Payscore, receiver: Receiver
) -> None:
    token = await payscore.authorize("A-1")
    assert not (await payscore.permission(authorization_code="A-1")).is_granted

    permission = sim.pay.permissions.of_token(token)
    sim.pay.permissions.grant(permission, "o-1")
    sim.pay.permission_told(permission)
    await sim.pay.notifier.idle()

    (notice,) = receiver.told
    assert isinstance(notice.event, PermissionChanged)
    assert (notice.event.is_granted, notice.event.openid) == (True, "o-1")
    assert (await payscore.permission(openid="o-1")).authorization_code == "A-1"
    order = await payscore.create(
        NewService(
            out_order_no="S-2",
            introduction="自助货柜",
            risk_fund=NEW.risk_fund,
            openid="o-1",
            needs_confirming=False,
        )
    )
    assert order.phase is Phase.RUNNING
    await payscore.cancel("S-2", reason="门未打开")
    await payscore.revoke_permission(openid="o-1", reason="用户注销")
    assert not (await payscore.permission(openid="o-1")).is_granted


# ---------------------------------------------------------------- answers that are spoilt


@pytest.mark.parametrize(
    "kind",
    [
        *("http_502", "drop", "nonsense", "bad_gzip", "system_error", "forged_sign"),
        *("missing_sign", "tampered_amount", "old_timestamp", "unknown_serial"),
    ],
)
async def test_a_refund_whose_answer_is_spoilt_is_made_once(
    sim: WeChat, client: WeChatPayV3, payscore: Payscore, kind: AnswerFault
) -> None:
    await client.keys.refresh_due()
    order = refund_of(await completed(sim, payscore))
    sim.pay.faults.add(PayFault(endpoint="v3.refund", kind=kind, is_done=True))

    with pytest.raises(Unknown):
        await client.refund(order)
    await client.refund(order)

    assert len(sim.pay.refunds.all) == 1
    assert left_fen(sim) == 1_000


async def test_more_than_was_paid_is_not_paid_back(
    sim: WeChat, client: WeChatPayV3, payscore: Payscore
) -> None:
    order = refund_of(await completed(sim, payscore))

    await client.refund(order)
    with pytest.raises(Refused):
        await client.refund(msgspec.structs.replace(order, out_refund_no="R-2", refund_fen=1_001))
    with pytest.raises(Refused):
        await client.refund(msgspec.structs.replace(order, refund_fen=501))


async def test_the_bill_holds_what_was_collected_and_paid_back(
    sim: WeChat, client: WeChatPayV3, payscore: Payscore
) -> None:
    transaction_id = await completed(sim, payscore)
    await client.refund(refund_of(transaction_id))
    sim.clock.advance(86_400)

    rows = await client.bill(20261120)

    assert {(row.transaction_id, row.amount_fen, row.refund_fen) for row in rows} >= {
        (transaction_id, 1_500, 0)
    }
    assert [row.out_refund_no for row in rows if row.out_refund_no] == ["R-1"]
    assert await client.bill(20261119) == []
