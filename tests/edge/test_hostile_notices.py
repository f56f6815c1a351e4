"""Whatever is posted to where WeChat's notices come: an answer, and nothing of it believed.

Each run draws its bodies from dice whose seed is printed.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from payments.notices.service import BAD_A_DAY
from payments.wechat.errors import BadMessage
from payments.wechat.notices_v2 import ACK, read_payment
from server.app import App
from server.wechatpay import V2_PAY, V2_REFUND
from sql.database import Tx
from tests.edge.web import Answer, Web
from tests.payments.core.till import read_rows
from tests.payments.wechat import hostile, speech

# In full, beside the table of those that somebody has thought of.
MUTATED = 200_000
CALLERS = 8
BODY_MAX = 64 << 10
XML = [("Content-Type", "text/xml")]


@pytest.fixture
def settings(settings: dict[str, str]) -> dict[str, str]:
    """The merchant whose messages are bent."""
    return {
        **settings,
        "CALLME_WECHAT__SELLER_APPID": speech.APPID,
        "CALLME_WECHATPAY__MCH_ID": speech.MCH_ID,
        "CALLME_WECHATPAY__API_V2_KEY": speech.KEY,
    }


def is_believable(body: bytes) -> bool:
    """Whether a message still says what the good one says, its blanks and empty fields apart."""
    try:
        return read_payment(body, speech.MERCHANT) == read_payment(hostile.GOOD, speech.MERCHANT)
    except BadMessage:
        return False


class Attack:
    """Some callers with a body each, taken from one stock."""

    def __init__(self, port: int, bodies: Iterator[bytes]) -> None:
        self._port = port
        self._bodies = bodies
        self.statuses: Counter[int] = Counter()

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            webs = [await stack.enter_async_context(Web(self._port)) for _ in range(CALLERS)]
            await asyncio.gather(*map(self._post, webs))

    async def _post(self, web: Web) -> None:
        for body in self._bodies:
            paid = await web.ask("POST", V2_PAY, body, XML)
            assert (paid.body == ACK) == is_believable(body), body
            refunded = await web.ask("POST", V2_REFUND, body, XML)
            assert refunded.body != ACK, body
            for answer in (paid, refunded):
                self._see(answer, body)

    def _see(self, answer: Answer, body: bytes) -> None:
        self.statuses[answer.status] += 1
        # Above its bound a body is not read; below it each is answered in WeChat's words.
        assert answer.status == (200 if len(body) <= BODY_MAX else 413), body
        assert speech.fields_of(answer.body).keys() == {"return_code", "return_msg"}, body


@pytest.mark.torture
@pytest.mark.timeout(0)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_no_message_of_very_many_is_too_much_for_the_server(
    app: App,
    web: Web,
    dice: random.Random,
    torture_share: float,
    record_property: Callable[[str, object], None],
    expect_log: Callable[[str], None],
) -> None:
    # The simulated WeChat knows no such merchant.
    expect_log("job bill failed")
    table = list(hostile.table().values())
    attack = Attack(
        app.port, iter([*table, *hostile.mutated(dice, round(MUTATED * torture_share))])
    )

    await attack.run()

    record_property("bodies", attack.statuses.total() // 2)
    assert attack.statuses[200] > attack.statuses[413] > 0
    # The good one is of an order nobody here has made: it waits in suspense, for a person.
    assert len(await app.db.read(read_rows, "receipts")) <= 1
    assert await app.db.read(_bad_ones) == BAD_A_DAY
    assert await app.books.check() == []
    answer = await web.ask("POST", V2_PAY, hostile.GOOD, XML)
    assert (answer.status, answer.body) == (200, ACK)


def _bad_ones(tx: Tx) -> int:
    return sum(not row["is_verified"] for row in read_rows(tx, "payment_notices"))
