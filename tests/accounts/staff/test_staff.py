"""Staff accounts on each database: made, changed, deleted, restored; and who may not."""

import asyncio
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select

from accounts.audit.model import By, Entry, Filter
from accounts.audit.service import Audit
from accounts.model import AccountBlocked, SessionExpired
from accounts.staff.model import (
    LastOwner,
    LoginNameTaken,
    NotOneself,
    OwnerSeesAll,
    PasswordWrong,
    SignInRefused,
    StaffNotFound,
    StoreUnknown,
    UnfitLoginName,
    WeakPassword,
)
from accounts.staff.store import Wanted
from sql.database import Database, Tx
from sql.tables.devices import stores
from sql.tables.staff import staff
from tests.accounts.staff.conftest import BOSS, PASSWORD, CountingHasher, Office, by
from tests.clock import Clock

OTHER = "rice at night"


def raw(tx: Tx, account_id: int) -> Any:
    return tx.execute(select(staff).where(staff.c.account_id == account_id)).one()


async def lines(db: Database) -> list[Entry]:
    """Of the audit, oldest first."""
    return (await Audit(db).page(Filter(), offset=0, most=100))[1][::-1]


# ---------------------------------------------------------------- making


async def test_a_new_account_is_as_it_was_given(office: Office, clock: Clock) -> None:
    given = {
        "nickname": "李" * 100,
        "mobile": "1" * 20,
        "email": "a@" + "b" * 98,
        "sex": 2,
        "avatar": "k" * 64,
        "status": 1,
    }

    made = await office.hire("x" * 20, "finance", **given)

    assert msgspec.structs.asdict(await office.staff.account(made.id)) == {
        **given,
        "id": made.id,
        "login_name": "x" * 20,
        "role": "finance",
        "has_totp": False,
        "store_ids": (),
        "created_at": clock.now(),
        "updated_at": clock.now(),
    }


async def test_the_same_password_is_stored_as_two_hashes(office: Office) -> None:
    one, other = await office.hire("li"), await office.hire("wang")

    first, second = [(await office.db.read(raw, each.id)).password_hash for each in (one, other)]

    assert first != second
    assert first.startswith("$argon2id$")


@pytest.mark.parametrize("name", ["li", "Li", "LI"])
async def test_a_login_name_is_taken_in_whatever_case(office: Office, name: str) -> None:
    await office.hire("Li")

    with pytest.raises(LoginNameTaken):
        await office.hire(name, "support")

    assert (await office.staff.page(Wanted(), offset=0, most=9))[0] == 1


async def test_of_many_who_take_a_name_at_once_one_has_it(
    two_offices: tuple[Office, Office],
) -> None:
    made = await asyncio.gather(
        *(office.hire("Li" if n % 2 else "li") for n in range(8) for office in two_offices),
        return_exceptions=True,
    )

    refused = [each for each in made if isinstance(each, LoginNameTaken)]
    assert len(refused) == 15
    assert (await two_offices[0].staff.page(Wanted(), offset=0, most=9))[0] == 1


async def test_what_is_unfit_is_not_made(office: Office) -> None:
    values = {"login_name": "li ming", "role": "owner"}
    with pytest.raises(UnfitLoginName):
        await office.staff.create(values, password=PASSWORD, by=BOSS)
    with pytest.raises(WeakPassword):
        await office.staff.create({**values, "login_name": "li"}, password="short", by=BOSS)

    assert await office.staff.page(Wanted(), offset=0, most=9) == (0, [])


async def test_who_is_made_deleted_cannot_sign_in(office: Office) -> None:
    await office.hire("li", status=0)

    with pytest.raises(SignInRefused):
        await office.staff.sign_in("li", PASSWORD)


# ---------------------------------------------------------------- signing in


async def test_the_right_pair_opens_a_session_with_the_role(office: Office) -> None:
    account = await office.hire("Li", "finance")

    opened = await office.staff.sign_in("lI", PASSWORD, address="203.0.113.9")

    session = await office.sessions.get(opened.jwt)
    assert (session.account_id, session.app) == (account.id, "staff")
    assert session.roles == {"staff", "finance"}


async def test_a_wrong_name_is_refused_like_a_wrong_password(
    office: Office, hasher: CountingHasher
) -> None:
    await office.hire("li")

    refusals = []
    for name, password in [("li", "wrong"), ("wang", PASSWORD), ("", ""), ("li\x00", PASSWORD)]:
        before = hasher.verified
        with pytest.raises(SignInRefused) as refused:
            await office.staff.sign_in(name, password)
        refusals.append((str(refused.value), hasher.verified - before))

    assert refusals == [("", 1)] * 4


async def test_signing_out_ends_the_session_on_the_server(office: Office) -> None:
    await office.hire("li")
    opened = await office.staff.sign_in("li", PASSWORD)

    await office.sessions.end(opened.session)

    with pytest.raises(SessionExpired):
        await office.sessions.get(opened.jwt)


@pytest.mark.parametrize("meanwhile", ["password", "delete"])
async def test_a_sign_in_that_was_overtaken_is_refused(
    office: Office, meanwhile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.hire("boss")
    account = await office.hire("li", "support")
    is_right = office.passwords.is_right

    async def slow(password: str, password_hash: str | None) -> bool:
        """The password was right when it was looked at; then somebody acts."""
        found = await is_right(password, password_hash)
        if meanwhile == "password":
            await office.staff.reset_password(account.id, OTHER, remove_totp=False, by=BOSS)
        else:
            await office.staff.delete(account.id, by=BOSS)
        return found

    monkeypatch.setattr(office.passwords, "is_right", slow)

    with pytest.raises(SignInRefused):
        await office.staff.sign_in("li", PASSWORD)


async def test_an_account_that_was_blocked_by_itself_is_refused(office: Office) -> None:
    """By whoever blocks accounts of any kind, without a word to the staff's own row."""
    from accounts import store

    account = await office.hire("li")
    await office.db.write(store.block_account, account.id)

    with pytest.raises(AccountBlocked):
        await office.staff.sign_in("li", PASSWORD)


# ---------------------------------------------------------------- deleting and restoring


async def test_a_deleted_account_s_sessions_die_at_once(office: Office) -> None:
    boss, account = await office.hire("boss"), await office.hire("li", "support")
    opened = [await office.staff.sign_in("li", PASSWORD) for _ in range(2)]
    told: list[int] = []
    office.sessions.on_end(told.append)

    deleted = await office.staff.delete(account.id, by=by(boss), reason="left us")

    assert deleted.status == 0
    assert set(told) == {each.session.id for each in opened}
    for each in opened:
        with pytest.raises(SessionExpired):
            await office.sessions.get(each.jwt)
    with pytest.raises(SignInRefused):
        await office.staff.sign_in("li", PASSWORD)


async def test_a_restored_account_is_the_same_with_its_history(
    office: Office, clock: Clock
) -> None:
    boss, account = await office.hire("boss"), await office.hire("li", "support", nickname="李")
    await office.staff.delete(account.id, by=by(boss))
    clock.advance(days=1)

    restored = await office.staff.restore(account.id, by=by(boss), reason="is back")

    assert restored == msgspec.structs.replace(account, updated_at=clock.now())
    opened = await office.staff.sign_in("li", PASSWORD)
    assert opened.session.account_id == account.id
    about = [each for each in await lines(office.db) if each.subject == f"staff:{account.id}"]
    assert [each.action for each in about] == [
        "staff.create",
        "staff.delete",
        "staff.restore",
        "session.open",
    ]


async def test_deleting_and_restoring_again_change_nothing(office: Office, clock: Clock) -> None:
    boss, account = await office.hire("boss"), await office.hire("li", "support")
    restored = await office.staff.restore(account.id, by=by(boss))
    deleted = await office.staff.delete(account.id, by=by(boss))
    clock.advance(days=1)

    again = await office.staff.delete(account.id, by=by(boss))

    assert restored == account
    assert again == deleted
    assert [each.action for each in await lines(office.db)][2:] == ["staff.delete"]


async def test_nobody_deletes_or_demotes_oneself(office: Office) -> None:
    boss, _ = await office.hire("boss"), await office.hire("other")

    with pytest.raises(NotOneself):
        await office.staff.delete(boss.id, by=by(boss))
    for values in ({"role": "readonly"}, {"status": 0}):
        with pytest.raises(NotOneself):
            await office.staff.change(boss.id, values, by=by(boss))

    assert await office.staff.account(boss.id) == boss


async def test_the_last_owner_stays(office: Office) -> None:
    boss, other = await office.hire("boss"), await office.hire("other")
    await office.staff.delete(other.id, by=by(boss))
    clerk = await office.hire("clerk", "support")

    with pytest.raises(LastOwner):
        await office.staff.delete(boss.id, by=by(clerk))
    with pytest.raises(LastOwner):
        await office.staff.change(boss.id, {"role": "operator"}, by=by(clerk))

    assert (await office.staff.account(boss.id)).is_active_owner


@pytest.mark.parametrize("values", [{"status": 0}, {"role": "readonly"}])
async def test_two_owners_cannot_remove_each_other(
    two_offices: tuple[Office, Office], values: dict[str, object]
) -> None:
    one, other = two_offices
    for turn in range(5):
        li, wang = await one.hire(f"li{turn}"), await one.hire(f"wang{turn}")
        for left in (await one.staff.page(Wanted(status=1, role="owner"), offset=0, most=99))[1]:
            if left.id not in {li.id, wang.id}:
                await one.staff.delete(left.id, by=BOSS)

        done = await asyncio.gather(
            one.staff.change(li.id, values, by=by(wang)),
            other.staff.change(wang.id, values, by=by(li)),
            return_exceptions=True,
        )

        assert sorted(type(each).__name__ for each in done) == ["LastOwner", "StaffAccount"]
        owners = await one.staff.page(Wanted(status=1, role="owner"), offset=0, most=9)
        assert owners[0] == 1


# ---------------------------------------------------------------- in another process


async def test_sessions_die_at_once_in_other_processes(
    two_offices: tuple[Office, Office],
) -> None:
    here, there = two_offices
    await here.hire("boss")
    account = await here.hire("li", "support")
    opened = await here.staff.sign_in("li", PASSWORD)
    session = await there.sessions.get(opened.jwt)

    await here.staff.delete(account.id, by=BOSS)

    assert there.sessions.peek(opened.jwt) is None
    with pytest.raises(SessionExpired):
        await there.sessions.get(opened.jwt)
    still = there.sessions.still(session)
    assert not (still if isinstance(still, bool) else await still)


async def test_another_password_ends_sessions_in_other_processes(
    two_offices: tuple[Office, Office],
) -> None:
    here, there = two_offices
    account = await here.hire("li")
    opened = await there.staff.sign_in("li", PASSWORD)
    await there.sessions.get(opened.jwt)

    await here.staff.reset_password(account.id, OTHER, remove_totp=False, by=BOSS)

    with pytest.raises(SessionExpired):
        await there.sessions.get(opened.jwt)


# ---------------------------------------------------------------- changing


async def test_only_what_is_given_changes(office: Office, clock: Clock) -> None:
    account = await office.hire("li", "support", nickname="李", mobile="138")
    clock.advance(minutes=1)

    changed = await office.staff.change(account.id, {"mobile": "139"}, by=BOSS)

    assert changed == msgspec.structs.replace(account, mobile="139", updated_at=clock.now())
    assert (await office.staff.sign_in("li", PASSWORD)).session.account_id == account.id


async def test_what_is_so_already_is_no_change(office: Office, clock: Clock) -> None:
    account = await office.hire("li", mobile="138")
    clock.advance(minutes=1)

    assert await office.staff.change(account.id, {"mobile": "138"}, by=BOSS) == account
    assert await office.staff.change(account.id, {}, by=BOSS) == account
    assert len(await lines(office.db)) == 1


async def test_a_login_name_can_be_given_anew(office: Office) -> None:
    account, _ = await office.hire("li"), await office.hire("wang")

    changed = await office.staff.change(account.id, {"login_name": "LI"}, by=BOSS)
    with pytest.raises(LoginNameTaken):
        await office.staff.change(account.id, {"login_name": "WANG"}, by=BOSS)
    with pytest.raises(UnfitLoginName):
        await office.staff.change(account.id, {"login_name": ""}, by=BOSS)
    await office.staff.change(account.id, {"login_name": "li.ming"}, by=BOSS)

    assert changed.login_name == "LI"
    assert (await office.staff.sign_in("LI.MING", PASSWORD)).session.account_id == account.id
    with pytest.raises(SignInRefused):
        await office.staff.sign_in("li", PASSWORD)


async def test_a_password_can_be_given_with_a_change(office: Office) -> None:
    account = await office.hire("li")
    opened = await office.staff.sign_in("li", PASSWORD)

    await office.staff.change(account.id, {}, password=OTHER, by=BOSS)
    with pytest.raises(WeakPassword):
        await office.staff.change(
            account.id, {"login_name": OTHER.replace(" ", ".")}, password="rice.at.night", by=BOSS
        )

    with pytest.raises(SessionExpired):
        await office.sessions.get(opened.jwt)
    await office.staff.sign_in("li", OTHER)


async def test_another_role_ends_the_sessions_that_had_the_old_one(office: Office) -> None:
    account, _ = await office.hire("li"), await office.hire("boss")
    opened = await office.staff.sign_in("li", PASSWORD)

    await office.staff.change(account.id, {"role": "readonly"}, by=BOSS)

    with pytest.raises(SessionExpired):
        await office.sessions.get(opened.jwt)
    again = await office.staff.sign_in("li", PASSWORD)
    assert again.session.roles == {"staff", "readonly"}


async def test_what_is_not_there_cannot_be_changed(office: Office) -> None:
    for act in (
        office.staff.account(77),
        office.staff.change(77, {"mobile": "1"}, by=BOSS),
        office.staff.change(77, {}, password=OTHER, by=BOSS),
        office.staff.delete(77, by=BOSS),
        office.staff.restore(77, by=BOSS),
        office.staff.reset_password(77, OTHER, remove_totp=False, by=BOSS),
        office.staff.end_totp(password=PASSWORD, by=By("staff", 77)),
    ):
        with pytest.raises(StaffNotFound):
            await act


# ---------------------------------------------------------------- one's own


async def test_one_changes_one_s_own_data(office: Office, clock: Clock) -> None:
    account = await office.hire("li", "support")
    opened = await office.staff.sign_in("li", PASSWORD)
    clock.advance(minutes=1)

    changed = await office.staff.change_own({"nickname": "李"}, by=by(account))

    assert changed == msgspec.structs.replace(account, nickname="李", updated_at=clock.now())
    assert await office.sessions.get(opened.jwt) == opened.session


async def test_one_s_own_new_password_ends_the_other_sessions(office: Office) -> None:
    account = await office.hire("li", "support")
    here, elsewhere = [await office.staff.sign_in("li", PASSWORD) for _ in range(2)]

    with pytest.raises(PasswordWrong):
        await office.staff.change_password(here.session, old=OTHER, new=OTHER, by=by(account))
    with pytest.raises(WeakPassword):
        await office.staff.change_password(here.session, old=PASSWORD, new="li", by=by(account))
    await office.staff.change_password(here.session, old=PASSWORD, new=OTHER, by=by(account))

    assert await office.sessions.get(here.jwt) == here.session
    with pytest.raises(SessionExpired):
        await office.sessions.get(elsewhere.jwt)
    with pytest.raises(SignInRefused):
        await office.staff.sign_in("li", PASSWORD)
    await office.staff.sign_in("li", OTHER)


# ---------------------------------------------------------------- lists


async def test_a_list_is_of_what_was_asked_for(office: Office) -> None:
    li = await office.hire("Li", "owner", nickname="李明", mobile="13800000001")
    wang = await office.hire("wang", "support", nickname="100%_\\", mobile="13800000002")
    chen = await office.hire("chen", "support", status=0)

    async def ids(*, offset: int = 0, most: int = 9, **wanted: Any) -> list[int]:
        _, found = await office.staff.page(Wanted(**wanted), offset=offset, most=most)
        return [each.id for each in found]

    assert await ids() == [li.id, wang.id, chen.id]
    assert await ids(sort="-id") == [chen.id, wang.id, li.id]
    assert await ids(sort="login_name") == [chen.id, li.id, wang.id]
    assert await ids(sort="-role") == [wang.id, chen.id, li.id]
    assert await ids(status=0) == [chen.id]
    assert await ids(status=1, role="support") == [wang.id]
    assert await ids(keyword="LI") == [li.id]
    assert await ids(keyword="明") == [li.id]
    assert await ids(keyword="0002") == [wang.id]
    for plain in ("%", "_", "\\"):
        assert await ids(keyword=plain) == [wang.id]
    assert await ids(offset=1, most=1) == [wang.id]
    assert (await office.staff.page(Wanted(role="support"), offset=0, most=1))[0] == 2


# ---------------------------------------------------------------- the audit


async def test_every_change_leaves_a_line_without_secrets(office: Office, clock: Clock) -> None:
    boss, account = await office.hire("boss"), await office.hire("li", "support")
    await office.staff.change(
        account.id, {"role": "finance"}, password=OTHER, by=by(boss), reason="promoted"
    )

    (_, made, changed) = await lines(office.db)

    assert (made.action, made.actor, made.actor_id) == ("staff.create", "staff", 0)
    assert msgspec.json.decode(made.after)["password_hash"] == "****"
    assert msgspec.json.decode(made.after)["login_name"] == "li"
    assert (changed.action, changed.actor, changed.actor_id) == ("staff.change", "boss", boss.id)
    assert (changed.reason, changed.address) == ("promoted", "203.0.113.0/24")
    assert changed.at == clock.now()
    assert msgspec.json.decode(changed.before) == {"password_hash": "****", "role": "support"}
    assert msgspec.json.decode(changed.after) == {"password_hash": "****", "role": "finance"}
    assert await Audit(office.db).verify() is None


# ---------------------------------------------------------------- from the command line


async def test_an_owner_is_made_from_the_command_line(office: Office) -> None:
    assert await office.staff.make_owner("li", PASSWORD)

    opened = await office.staff.sign_in("li", PASSWORD)
    assert opened.session.roles == {"staff", "owner"}


async def test_an_owner_who_lost_everything_is_reset(office: Office) -> None:
    await office.hire("boss")
    account = await office.hire("li", "support")
    await office.staff.delete(account.id, by=BOSS)

    assert not await office.staff.make_owner("LI", OTHER)

    opened = await office.staff.sign_in("li", OTHER)
    assert opened.session.account_id == account.id
    assert opened.session.roles == {"staff", "owner"}
    with pytest.raises(SignInRefused):
        await office.staff.sign_in("li", PASSWORD)
    with pytest.raises(WeakPassword):
        await office.staff.make_owner("li", "short")
    with pytest.raises(UnfitLoginName):
        await office.staff.make_owner("li li", OTHER)


# ---------------------------------------------------------------- kept to some stores


def open_stores(tx: Tx, *ids: int) -> None:
    said = {"name": "n", "type": "kids", "property": "own", "address": "", "phone": ""}
    times = {"created_at": tx.now, "updated_at": tx.now}
    tx.execute(insert(stores), [{"id": n, "code": f"S-{n}", **said, **times} for n in ids])


async def test_an_account_is_kept_to_stores_and_let_go(office: Office) -> None:
    await office.db.write(open_stores, 1, 2, 3)
    boss, clerk = await office.hire("boss"), await office.hire("clerk", "operator")
    assert clerk.store_ids == ()

    kept = await office.staff.change(clerk.id, {"store_ids": [3, 1, 3]}, by=by(boss))
    same = await office.staff.change(clerk.id, {"store_ids": (1, 3)}, by=by(boss))

    assert kept == same == await office.staff.account(clerk.id)
    assert kept.store_ids == (1, 3)
    (line,) = [each for each in await lines(office.db) if each.action == "staff.change"]
    assert (line.before, line.after) == ('{"store_ids":[]}', '{"store_ids":[1,3]}')
    total, found = await office.staff.page(Wanted(sort="-id"), offset=0, most=9)
    assert (total, [each.store_ids for each in found]) == (2, [(1, 3), ()])

    assert (await office.staff.change(clerk.id, {"store_ids": []}, by=by(boss))).store_ids == ()


async def test_a_new_account_may_be_kept_from_the_first_moment(office: Office) -> None:
    await office.db.write(open_stores, 1, 2)

    assert (await office.hire("clerk", "support", store_ids=(2, 1))).store_ids == (1, 2)


async def test_who_is_kept_to_other_stores_has_to_sign_in_again(office: Office) -> None:
    await office.db.write(open_stores, 1)
    boss, clerk = await office.hire("boss"), await office.hire("clerk", "operator")
    opened = await office.staff.sign_in("clerk", PASSWORD)

    await office.staff.change(clerk.id, {"store_ids": [1]}, by=by(boss))

    with pytest.raises(SessionExpired):
        await office.sessions.get(opened.jwt)
    again = await office.staff.sign_in("clerk", PASSWORD)
    assert again.session.id != opened.session.id
    assert opened.session.roles == {"staff", "operator"}
    assert again.session.roles == {"staff", "operator:stores"}


async def test_an_owner_is_kept_to_nothing(office: Office) -> None:
    await office.db.write(open_stores, 1)
    boss = await office.hire("boss")
    clerk = await office.hire("clerk", "operator", store_ids=(1,))

    for account, values in (
        (boss, {"store_ids": [1]}),
        (clerk, {"role": "owner"}),
        (await office.hire("second", "finance"), {"role": "owner", "store_ids": [1]}),
    ):
        with pytest.raises(OwnerSeesAll):
            await office.staff.change(account.id, values, by=by(boss))
        assert await office.staff.account(account.id) == account
    with pytest.raises(OwnerSeesAll):
        await office.hire("third", "owner", store_ids=(1,))

    promoted = await office.staff.change(clerk.id, {"role": "owner", "store_ids": []}, by=by(boss))
    assert (promoted.role, promoted.store_ids) == ("owner", ())


async def test_nobody_is_kept_to_a_store_that_is_not_there(office: Office) -> None:
    await office.db.write(open_stores, 1)
    boss, clerk = await office.hire("boss"), await office.hire("clerk", "operator")

    with pytest.raises(StoreUnknown):
        await office.staff.change(clerk.id, {"store_ids": [1, 9]}, by=by(boss))
    with pytest.raises(StoreUnknown):
        await office.hire("other", "operator", store_ids=(9,))

    assert (await office.staff.page(Wanted(), offset=0, most=9))[0] == 2


async def test_the_command_line_lets_an_owner_see_all(office: Office) -> None:
    await office.db.write(open_stores, 1)
    clerk = await office.hire("clerk", "operator", store_ids=(1,))

    assert await office.staff.make_owner("clerk", OTHER) is False

    now = await office.staff.account(clerk.id)
    assert (now.role, now.store_ids) == ("owner", ())
