"""Signing in through WeChat; roles; blocking."""

import asyncio

import pytest
from sqlalchemy import func, select

from accounts import store
from accounts.model import (
    AccountBlocked,
    CodeRefused,
    Opened,
    SessionExpired,
    WeChatUnavailable,
)
from accounts.service import People, Sessions
from simulators.faults import Fault
from simulators.wechat import DINER_APPID, WeChat
from sql.database import Database, Tx, open_database
from sql.tables.accounts import accounts
from tests.accounts.conftest import MakeProgram, MakeSessions
from tests.clock import Clock


def count_accounts(tx: Tx) -> int:
    count: int = tx.execute(select(func.count()).select_from(accounts)).scalar_one()
    return count


async def test_a_first_sign_in_makes_the_account_and_the_next_finds_it(
    db: Database, people: People, sessions: Sessions, wechat: WeChat, clock: Clock
) -> None:
    first = await people.sign_in("diner", wechat.logins.make_code(openid="o-1"))
    clock.advance(seconds=60)
    second = await people.sign_in("diner", wechat.logins.make_code(openid="o-1"))

    assert first.session.account_id == second.session.account_id
    assert first.key_hex != second.key_hex
    assert (await sessions.get(first.key_hex)).id != (await sessions.get(second.key_hex)).id
    account = await people.account(first.session.account_id)
    assert account is not None
    assert (account.app, account.openid, account.blocked_at) == ("diner", "o-1", None)
    assert account.created_at == clock.now() - 60_000
    assert await people.account(account.id + 1) is None


async def test_openids_that_differ_in_case_are_two_people(people: People, wechat: WeChat) -> None:
    upper = await people.sign_in("diner", wechat.logins.make_code(openid="oAbC"))
    lower = await people.sign_in("diner", wechat.logins.make_code(openid="oabc"))

    assert upper.session.account_id != lower.session.account_id


async def test_the_app_signed_in_with_gives_the_role(people: People, wechat: WeChat) -> None:
    diner = await people.sign_in("diner", wechat.logins.make_code(openid="o-1"))
    seller = await people.sign_in("seller", wechat.logins.make_code(openid="o-1"))

    assert diner.session.roles == {"diner"}
    assert seller.session.roles == {"seller"}
    assert diner.session.account_id != seller.session.account_id


async def test_an_openid_on_the_admin_list_is_an_admin(
    db: Database, make_program: MakeProgram, make_sessions: MakeSessions, wechat: WeChat
) -> None:
    sessions = make_sessions(admins=frozenset({"o-boss"}))
    people = People(db, make_program(wechat.url), sessions)

    boss = await people.sign_in("seller", wechat.logins.make_code(openid="o-boss"))
    other = await people.sign_in("seller", wechat.logins.make_code(openid="o-bos"))

    assert (await sessions.get(boss.jwt)).roles == {"seller", "admin"}
    assert (await sessions.get(other.jwt)).roles == {"seller"}


async def test_twenty_first_sign_ins_at_once_make_one_account(
    db: Database, people: People, wechat: WeChat
) -> None:
    codes = [wechat.logins.make_code(openid="o-1") for _ in range(20)]

    opened = await asyncio.gather(*(people.sign_in("diner", code) for code in codes))

    assert len({one.session.account_id for one in opened}) == 1
    assert await db.read(count_accounts) == 1


async def test_a_blocked_person_does_not_keep_others_from_signing_in(
    db: Database, people: People, wechat: WeChat
) -> None:
    blocked = await people.sign_in("diner", wechat.logins.make_code(openid="o-blocked"))
    await people.block(blocked.session.account_id)
    codes = [wechat.logins.make_code(openid=openid) for openid in ("o-1", "o-blocked", "o-2")]

    first, refused, last = await asyncio.gather(
        *(people.sign_in("diner", code) for code in codes), return_exceptions=True
    )

    assert isinstance(first, Opened)
    assert isinstance(refused, AccountBlocked)
    assert isinstance(last, Opened)
    with pytest.raises(AccountBlocked):
        await db.write(store.find_or_make_account, "diner", "o-blocked")


@pytest.mark.mariadb
async def test_first_sign_ins_in_two_processes_make_one_account(
    mariadb_url: str, clock: Clock
) -> None:
    databases = [await open_database(mariadb_url, now=clock.now) for _ in range(4)]
    await databases[0].migrate()

    for number in range(25):
        openid = f"o-{number}"
        found = await asyncio.gather(
            *(db.write(store.find_or_make_account, "diner", openid) for db in databases)
        )
        assert len({account.id for account in found}) == 1

    assert await databases[0].read(count_accounts) == 25
    for db in databases:
        await db.close()


async def test_a_code_signs_in_once(db: Database, people: People, wechat: WeChat) -> None:
    code = wechat.logins.make_code(openid="o-1")
    await people.sign_in("diner", code)

    with pytest.raises(CodeRefused) as refused:
        await people.sign_in("diner", code)

    assert refused.value.errcode == 40029


async def test_a_refused_sign_in_leaves_nothing(
    db: Database, people: People, wechat: WeChat
) -> None:
    wechat.faults.add(Fault(endpoint="jscode2session", kind="http_502"))

    with pytest.raises(WeChatUnavailable):
        await people.sign_in("diner", wechat.logins.make_code(openid="o-1"))
    with pytest.raises(CodeRefused):
        await people.sign_in("diner", "made-up")

    assert await db.read(count_accounts) == 0


async def test_a_role_counts_from_the_next_request(
    people: People, sessions: Sessions, wechat: WeChat, clock: Clock
) -> None:
    opened = await people.sign_in("seller", wechat.logins.make_code(openid="o-1"))
    other = await people.sign_in("seller", wechat.logins.make_code(openid="o-2"))
    account_id = opened.session.account_id
    clock.advance(seconds=3)
    sessions.peek(opened.key_hex)

    await people.give_role(account_id, "admin")
    await people.give_role(account_id, "admin")
    await people.give_role(account_id, "finance")
    assert (await sessions.get(opened.key_hex)).roles == {"seller", "admin", "finance"}
    await people.take_role(account_id, "finance")
    await people.take_role(account_id, "admin")

    assert (await sessions.get(opened.key_hex)).roles == {"seller"}
    assert sessions.peek(other.key_hex) == other.session


async def test_a_blocked_person_is_out_everywhere_and_stays_out(
    people: People, sessions: Sessions, make_sessions: MakeSessions, wechat: WeChat
) -> None:
    ended: list[int] = []
    sessions.on_end(ended.append)
    opened = [
        await people.sign_in("diner", wechat.logins.make_code(openid="o-1")) for _ in range(3)
    ]
    account_id = opened[0].session.account_id

    await people.block(account_id)
    await people.block(account_id)

    assert set(ended) == {one.session.id for one in opened}
    for one in opened:
        for asked in (sessions, make_sessions()):
            with pytest.raises(SessionExpired):
                await asked.get(one.key_hex)
    with pytest.raises(AccountBlocked):
        await people.sign_in("diner", wechat.logins.make_code(openid="o-1"))
    with pytest.raises(AccountBlocked):
        await sessions.open(account_id, "diner")


async def test_an_unblocked_person_signs_in_anew(
    people: People, sessions: Sessions, wechat: WeChat
) -> None:
    opened = await people.sign_in("diner", wechat.logins.make_code(openid="o-1"))
    await people.block(opened.session.account_id)

    await people.unblock(opened.session.account_id)

    with pytest.raises(SessionExpired):
        await sessions.get(opened.key_hex)
    again = await people.sign_in("diner", wechat.logins.make_code(openid="o-1"))
    assert again.session.account_id == opened.session.account_id


async def test_nothing_of_a_person_is_logged(
    people: People,
    wechat: WeChat,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    code = wechat.logins.make_code(openid="o-secret-person")

    opened = await people.sign_in("diner", code)

    secret = wechat.apps[DINER_APPID].secret
    for word in (code, "o-secret-person", secret, opened.key_hex, opened.jwt):
        assert word not in caplog.text
