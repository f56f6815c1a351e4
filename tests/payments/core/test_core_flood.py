"""Very many notices, most of them superfluous and some of them lies: each order is paid once."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Mapping

import pytest

from payments.gateway import PaymentFact
from payments.model import Debt
from payments.notices.service import Told
from payments.wechat.errors import BadMessage
from payments.wechat.notices_v2 import read_payment
from payments.wechat.secrets import ApiV2Key
from payments.wechat.signing import Merchant
from tests.payments.core.till import APPID, MCH_ID, Till
from tests.payments.wechat import speech

ORDERS = 20_000
AT_A_TIME = 100
PATH = "/notify/wechatpay/v2/pay"
MERCHANT = Merchant(appid=APPID, mch_id=MCH_ID, key=ApiV2Key(speech.KEY))
# So many times the truth is told of each order at one moment; then in other words, wrongly, badly
# signed, and, of any order there was, once more.
AT_ONCE = 8
TOLD_OF_EACH = AT_ONCE + 4


async def read(raw: bytes, _: Mapping[str, str]) -> Told:
    return read_payment(raw, MERCHANT)


def notice(fact: PaymentFact, *, key: str = speech.KEY, **changes: str) -> bytes:
    fields = speech.payment(
        appid=fact.appid,
        mch_id=fact.mch_id,
        openid=fact.openid,
        out_trade_no=fact.out_trade_no,
        transaction_id=fact.transaction_id,
        total_fee=str(fact.amount_fen),
        cash_fee=str(fact.amount_fen),
    )
    return speech.xml(speech.signed(fields | changes, key=key))


def wrong_amount(dice: random.Random, fact: PaymentFact) -> bytes:
    """Well signed: of this money or of some other, too much or too little."""
    fen = dice.choice([1, fact.amount_fen - 1, fact.amount_fen + 1, fact.amount_fen * 100])
    other = dice.choice([fact.transaction_id, f"9{fact.transaction_id}"])
    return notice(fact, total_fee=str(fen), transaction_id=other)


def badly_signed(dice: random.Random, fact: PaymentFact) -> bytes:
    good = notice(fact)
    at = good.index(b"<total_fee>") + len("<total_fee>")
    return dice.choice(
        [
            notice(fact, key="k" * 32),
            good[: good.index(b"<sign>")] + b"</xml>",
            good[:at] + b"9" + good[at:],
            good[: -dice.randint(1, 40)],
        ]
    )


class Flood:
    """Orders, what is told of them, and a count of what became of that."""

    def __init__(self, till: Till, dice: random.Random) -> None:
        self.till = till
        self.dice = dice
        self.verdicts: Counter[str] = Counter()
        self.debts: list[Debt] = []
        self.known: list[bytes] = []

    async def round(self, count: int) -> None:
        """So many new orders, placed and paid, and the notices of them in any order."""
        prices = [self.dice.randint(2, 99_999) for _ in range(count)]
        debts = await asyncio.gather(*(self.till.owe(fen) for fen in prices))
        self.debts += debts
        asked = await asyncio.gather(*(self.till.pay(debt) for debt in debts))
        facts = [self.till.bank.pay(one.out_trade_no) for one in asked]
        bursts = [burst for fact in facts for burst in self._told_of(fact)]
        self.dice.shuffle(bursts)
        while bursts:
            chosen = bursts[: (several := self.dice.randint(1, 32))]
            del bursts[:several]
            await asyncio.gather(*(self._send(raw) for burst in chosen for raw in burst))

    def _told_of(self, fact: PaymentFact) -> list[list[bytes]]:
        truth = notice(fact)
        self.known.append(truth)
        return [
            [truth] * AT_ONCE,
            # The same in other words, as from another server of WeChat's.
            [notice(fact, nonce_str=f"{self.dice.randrange(2**64):x}")],
            [wrong_amount(self.dice, fact)],
            [badly_signed(self.dice, fact)],
            [self.dice.choice(self.known)],
        ]

    async def _send(self, raw: bytes) -> None:
        verdict = "refused"
        with contextlib.suppress(BadMessage):
            verdict = await self.till.payments.receive(raw, {}, PATH)
        self.verdicts[verdict] += 1


@pytest.mark.torture
@pytest.mark.timeout(0)
async def test_each_order_of_very_many_is_paid_once(
    till: Till,
    dice: random.Random,
    torture_share: float,
    record_property: Callable[[str, object], None],
) -> None:
    till.readers = {PATH: read}
    till.start()
    flood = Flood(till, dice)
    orders = max(1, round(ORDERS * torture_share))

    while len(flood.debts) < orders:
        await flood.round(min(AT_A_TIME, orders - len(flood.debts)))
        assert await till.payments.check_books(from_zero=False) == []

    told = flood.verdicts.total()
    record_property("orders", orders)
    record_property("notices", told)
    assert told == orders * TOLD_OF_EACH
    assert flood.verdicts == {
        "paid": orders,
        "repeated": orders * (TOLD_OF_EACH - 3),
        "mismatch": orders,
        "refused": orders,
    }
    effects = [("delivered", str(debt.id), str(debt.amount_fen)) for debt in flood.debts]
    assert sorted(await till.notes()) == sorted(effects)
    assert await till.kinds() == ["payment.mismatch"]
    assert await till.agrees()
