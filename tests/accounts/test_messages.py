"""Grants are spent once; messages come out of the outbox and end in one of three ways."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from accounts import store
from accounts.messages import Dead, Delivered, Retry
from accounts.model import Account
from accounts.service import Messages, People
from simulators.faults import Fault
from simulators.wechat import CALLED_TEMPLATE_ID, WeChat
from sql.database import Database

ExpectLog = Callable[[str], None]
T = CALLED_TEMPLATE_ID


@pytest.fixture
async def diner(db: Database) -> Account:
    return await db.write(store.find_or_make_account, "diner", "o-diner")


def called(account_id: int) -> dict[str, Any]:
    return {
        "account_id": account_id,
        "template": T,
        "page": "pages/qu/qu",
        "data": {
            "character_string1": "39",
            "thing2": "一号档口",
            "thing3": "番茄鸡蛋面",
            "time4": "12:05",
            "thing5": "请到档口取餐",
        },
    }


async def left(db: Database, account_id: int, template: str = T) -> int:
    """How many grants there are; they are gone afterwards."""
    count = 0
    while await db.write(store.spend, account_id, template):
        count += 1
    return count


# ---------------------------------------------------------------- grants


async def test_a_grant_is_spent_once(db: Database, diner: Account) -> None:
    assert not await db.write(store.spend, diner.id, T)
    await db.write(store.grant, diner.id, T)

    spent = await asyncio.gather(*(db.write(store.spend, diner.id, T) for _ in range(20)))

    assert spent.count(True) == 1


async def test_grants_count_per_person_and_template(db: Database, diner: Account) -> None:
    await asyncio.gather(*(db.write(store.grant, diner.id, T) for _ in range(3)))
    await db.write(store.grant, diner.id, "other")
    await db.write(store.grant, diner.id + 1, T)

    assert await left(db, diner.id) == 3
    assert await left(db, diner.id, "other") == 1
    assert await left(db, diner.id + 1) == 1


async def test_a_client_cannot_claim_grants_without_end(db: Database, diner: Account) -> None:
    for _ in range(store.GRANTS_MAX + 5):
        await db.write(store.grant, diner.id, T)

    assert await left(db, diner.id) == store.GRANTS_MAX


# ---------------------------------------------------------------- delivery


async def test_a_message_is_delivered_to_the_accounts_openid(
    messages: Messages, wechat: WeChat, diner: Account
) -> None:
    wechat.messages.grant("o-diner", T)

    assert await messages.deliver_subscribe_message(called(diner.id)) == Delivered()

    (message,) = wechat.messages.inbox
    assert message.openid == "o-diner"
    assert message.data["character_string1"] == "39"


async def test_what_wechat_says_about_grants_is_final(
    db: Database, messages: Messages, wechat: WeChat, diner: Account
) -> None:
    wechat.logins.introduce(wechat.app_named("diner").appid, "o-diner")
    for _ in range(3):
        await db.write(store.grant, diner.id, T)

    assert await messages.deliver_subscribe_message(called(diner.id)) == Dead("refused")

    assert await left(db, diner.id) == 0


async def test_while_wechat_is_out_a_message_waits(
    messages: Messages, wechat: WeChat, diner: Account, expect_log: ExpectLog
) -> None:
    wechat.messages.grant("o-diner", T)
    wechat.faults.add(Fault(endpoint="*", kind="drop"))
    expect_log("waits")

    assert isinstance(await messages.deliver_subscribe_message(called(diner.id)), Retry)
    assert await messages.deliver_subscribe_message(called(diner.id)) == Delivered()


async def test_a_message_that_does_not_fit_its_template_ends(
    messages: Messages, diner: Account, expect_log: ExpectLog
) -> None:
    expect_log("field thing2 cannot be made to fit")
    payload = called(diner.id)
    payload["data"]["thing2"] = ""

    assert await messages.deliver_subscribe_message(payload) == Dead("bad argument")


async def test_a_payload_that_is_no_message_ends(messages: Messages, diner: Account) -> None:
    for payload in ({}, {**called(diner.id), "data": "x"}, {**called(diner.id), "page": None}):
        assert isinstance(await messages.deliver_subscribe_message(payload), Dead)


async def test_nobody_writes_to_the_blocked_and_the_unknown(
    messages: Messages, people: People, wechat: WeChat, diner: Account
) -> None:
    await people.block(diner.id)

    assert isinstance(await messages.deliver_subscribe_message(called(diner.id)), Dead)
    assert isinstance(await messages.deliver_subscribe_message(called(diner.id + 1)), Dead)

    assert wechat.calls == []
