"""What is known of members, kept and shown; tickets by hand; who is barred."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from accounts.audit.store import verify
from commerce.members.model import (
    MemberNotFound,
    MembersOfAll,
    NoTickets,
    PhoneInvalid,
    PhoneMissing,
    PhoneUnreadable,
    ReasonMissing,
    TicketsShort,
)
from commerce.members.phones import Phones, masked, normal, tail
from commerce.members.service import Members
from commerce.members.store import Wanted, find_member
from payments.ledger.store import BOOKS
from payments.model import PaymentsStopped
from payments.service import Payments
from sql.alerts import raise_alert
from sql.database import Database, Tx
from sql.idempotency import KeyReused
from sql.tables import metadata
from tests.commerce.members.conftest import (
    BOSS,
    FRANCHISE,
    LI,
    SECRET,
    SELLER,
    WANG,
    ask,
    by,
)
from tests.conftest import Told

PHONE = "13800001234"


def read_rows(tx: Tx, table: str) -> list[dict[str, Any]]:
    return [dict(row) for row in tx.execute(select(metadata.tables[table])).mappings()]


# ---------------------------------------------------------------- phones


@given(st.from_regex(r"\+[0-9]{5,19}|[0-9]{5,20}", fullmatch=True))
def test_a_number_is_sealed_and_opened(phone: str) -> None:
    phones = Phones(SECRET)

    box = phones.seal(phone)

    assert phones.open(box) == normal(phone)
    assert phone.removeprefix("+") not in box
    assert len(box) <= 255
    assert phones.seal(phone) != box
    assert phones.digest(phone) == phones.digest(normal(phone))


def test_one_number_is_found_however_it_is_written() -> None:
    phones = Phones(SECRET)

    assert phones.digest("+86 138-0000 (1234)") == phones.digest(PHONE)
    assert tail("+86 138 0000 1234") == "1234"
    assert masked("1234") == "•••• 1234"
    assert (masked(""), phones.seal(""), phones.open(""), phones.digest("")) == ("", "", "", "")


def test_another_secret_opens_nothing_and_finds_nothing() -> None:
    ours, theirs = Phones(SECRET), Phones(SECRET + "!")

    assert ours.digest(PHONE) != theirs.digest(PHONE)
    for box in (theirs.seal(PHONE), "1.", "1.AAAA", "1.*", ours.seal(PHONE)[:-4] + "AAA="):
        with pytest.raises(PhoneUnreadable):
            ours.open(box)


@pytest.mark.parametrize(
    "phone", ["1234", "call me", "1" * 21, "+" + "1" * 20, "１３８００００１２３４", "138#1234"]
)
def test_what_is_no_number_is_refused(phone: str) -> None:
    for judge in (normal, tail, Phones(SECRET).seal, Phones(SECRET).digest):
        with pytest.raises(PhoneInvalid):
            judge(phone)


# ---------------------------------------------------------------- what they say of themselves


async def test_somebody_unknown_is_a_member_all_the_same(members: Members) -> None:
    member, phone, tickets = await members.own(LI)

    assert (member.username, phone, tickets, member.is_barred) == ("", "", 0, False)


async def test_a_name_and_a_number_are_kept_and_taken_away(members: Members, db: Database) -> None:
    await members.change_own(LI, username="李" * 100, phone=PHONE)
    await members.change_own(LI, username=None, phone=None)
    member, phone, _ = await members.own(LI)
    assert (member.username, phone, member.phone_tail) == ("李" * 100, PHONE, "1234")

    # The number stands nowhere.
    (row,) = await db.read(read_rows, "members")
    assert PHONE not in str(row)
    await members.change_own(LI, username="", phone="")

    (row,) = await db.read(read_rows, "members")
    assert (row["username"], row["phone_box"], row["phone_hash"], row["phone_tail"]) == ("",) * 4


# ---------------------------------------------------------------- seen by staff


async def test_staff_see_diners_with_masked_phones(members: Members) -> None:
    await members.change_own(LI, username="Li Lei", phone=PHONE)

    total, found = await members.page(Wanted(), by=by(), offset=0, most=10)

    assert (total, [each.account_id for each in found]) == (2, [WANG, LI])
    assert (found[1].username, found[1].phone_tail, found[1].tickets) == ("Li Lei", "1234", 0)
    for wanted, expected in (
        (Wanted(keyword="LEI"), [LI]),
        (Wanted(keyword="100%"), []),
        (Wanted(phone_tail="1234"), [LI]),
        (Wanted(is_barred=True), []),
        (Wanted(is_barred=False, sort="id"), [LI, WANG]),
        (Wanted(sort="-username"), [LI, WANG]),
        (Wanted(sort="created_at"), [LI, WANG]),
    ):
        _, found = await members.page(wanted, by=by(), offset=0, most=10)
        assert [each.account_id for each in found] == expected, wanted
    total, found = await members.page(Wanted(), by=by(), offset=1, most=1)
    assert (total, len(found)) == (2, 1)


async def test_a_whole_number_finds_its_member(members: Members) -> None:
    await members.change_own(LI, username=None, phone=PHONE)

    assert [each.account_id for each in await members.search(" +86" + PHONE, by=by())] == [LI]
    assert await members.search("13900001234", by=by()) == []
    assert await members.search("", by=by()) == []


async def test_staff_of_a_store_see_who_has_bought_there(members: Members) -> None:
    _, found = await members.page(Wanted(), by=by(FRANCHISE), offset=0, most=10)

    assert [each.account_id for each in found] == [WANG]
    assert (await members.member(WANG, by=by(FRANCHISE))).account_id == WANG
    for refused in (
        members.member(LI, by=by(FRANCHISE)),
        members.member(SELLER, by=by()),
        members.phone(LI, by=by(FRANCHISE), reason="x"),
        members.ticket_lines(LI, by=by(FRANCHISE), most=5),
        members.grants(LI, by=by(FRANCHISE)),
    ):
        with pytest.raises(MemberNotFound):
            await refused
    for of_all in (
        members.grant(ask(5, account_id=WANG, who=FRANCHISE)),
        members.bar(WANG, is_barred=True, by=by(FRANCHISE), reason="x"),
    ):
        with pytest.raises(MembersOfAll):
            await of_all


async def test_each_look_at_a_number_is_in_the_audit(members: Members, db: Database) -> None:
    await members.change_own(LI, username=None, phone=PHONE)

    assert await members.phone(LI, by=by(), reason="回电") == PHONE
    assert await members.phone(LI, by=by(), reason="再次回电") == PHONE
    with pytest.raises(ReasonMissing):
        await members.phone(LI, by=by(), reason=" ")
    with pytest.raises(PhoneMissing):
        await members.phone(WANG, by=by(), reason="回电")

    lines = await db.read(read_rows, "staff_audit")
    assert [(line["action"], line["subject"], line["reason"]) for line in lines] == [
        ("member.phone", f"member:{LI}", "回电"),
        ("member.phone", f"member:{LI}", "再次回电"),
    ]
    assert PHONE not in str(lines)
    assert PHONE[-4:] not in str(lines)


# ---------------------------------------------------------------- tickets


async def test_tickets_are_given_and_taken_and_stand_in_the_ledger(
    members: Members, payments: Payments, db: Database, told: Told
) -> None:
    given_ = await members.grant(ask(500, key="a"))
    taken = await members.grant(ask(-200, key="b"))

    assert (given_.tickets, taken.tickets, given_.reason) == (500, -200, "生日礼物")
    lines = await members.ticket_lines(LI, by=by(), most=10)
    assert [(line.amount, line.balance_after) for line in lines] == [(-200, 300), (500, 500)]
    assert [line.amount for line in await members.ticket_lines(LI, by=by(), most=9, before=2)] == [
        500
    ]
    assert [each.id for each in await members.grants(LI, by=by())] == [taken.id, given_.id]
    assert (await members.member(LI, by=by())).tickets == 300
    assert told.names.count("tickets.changed") == 2
    audit = await db.read(read_rows, "staff_audit")
    assert [(line["before"], line["after"]) for line in audit] == [
        ('{"tickets":0}', '{"tickets":500}'),
        ('{"tickets":500}', '{"tickets":300}'),
    ]


async def test_never_below_zero(members: Members, payments: Payments) -> None:
    await members.grant(ask(100, key="a"))

    with pytest.raises(TicketsShort):
        await members.grant(ask(-101, key="b"))
    outcomes = await asyncio.gather(
        *(members.grant(ask(-60, key=f"c{n}")) for n in range(4)), return_exceptions=True
    )

    assert sum(not isinstance(each, Exception) for each in outcomes) == 1
    assert (await members.member(LI, by=by())).tickets == 40
    assert len(await members.grants(LI, by=by())) == 2


async def test_a_key_gives_once(members: Members, payments: Payments) -> None:
    grants = await asyncio.gather(*(members.grant(ask(100)) for _ in range(8)))

    assert len({each.id for each in grants}) == 1
    assert (await members.member(LI, by=by())).tickets == 100
    with pytest.raises(KeyReused):
        await members.grant(ask(101))


async def test_some_tickets_and_a_reason(members: Members, payments: Payments) -> None:
    with pytest.raises(NoTickets):
        await members.grant(ask(0))
    with pytest.raises(ReasonMissing):
        await members.grant(type(ask(5))(account_id=LI, tickets=5, reason="  ", by=by(), key=""))


async def test_no_tickets_move_while_the_books_are_wrong(members: Members, db: Database) -> None:
    await db.write(raise_alert, BOOKS, "I1", "wrong")

    with pytest.raises(PaymentsStopped):
        await members.grant(ask(5))


# ---------------------------------------------------------------- barring


async def test_barred_and_let_in_again(members: Members, db: Database) -> None:
    barred = await members.bar(LI, is_barred=True, by=by(), reason="损坏柜门")
    assert barred.barred_at is not None
    assert (await db.read(find_member, LI)).is_barred
    assert (await members.bar(LI, is_barred=True, by=by(), reason="again")).barred_reason == (
        "损坏柜门"
    )

    let_in = await members.bar(LI, is_barred=False, by=by(), reason="已赔偿")

    assert (let_in.barred_at, let_in.barred_reason) == (None, "")
    audit = await db.read(read_rows, "staff_audit")
    assert [line["action"] for line in audit] == ["member.bar", "member.unbar"]
    with pytest.raises(ReasonMissing):
        await members.bar(LI, is_barred=True, by=by(), reason="")
    assert BOSS == audit[0]["actor_id"]
    assert await db.read(verify) is None
