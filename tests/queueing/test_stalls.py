"""Stalls are made, signed up, changed, renewed: once, by whom it may, whoever else tries."""

import asyncio
import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from queueing.model import Actor, NotYourStall, Stall, StallDue, StallNotFound
from queueing.stalls import store
from queueing.stalls.model import BadPicture, ClaimRefused, HasStall, MonthEntry, PhoneTaken
from sql.database import Database, Tx
from sql.errors import CommitUnknown
from sql.idempotency import KeyReused
from tests.queueing.canteen import ADMIN, DINER, Canteen, data, execute, private, seller_of

PHONE = "13900000001"


def picture(colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (30, 20), colour).save(out, "PNG")
    return out.getvalue()


async def new(canteen: Canteen, phone: str = PHONE, *, months: int = 2, **values: Any) -> Stall:
    """A stall that nobody has signed up yet."""
    return await canteen.stalls.create({"phone": phone, **values}, months=months, by=ADMIN)


# Making


async def test_a_stall_starts_with_the_defaults_where_nothing_is_said(canteen: Canteen) -> None:
    made = await new(canteen, name="面", menu=("牛肉面", "炸酱面"), rest_s=60)

    assert made == await canteen.stalls.get(made.id)
    assert (made.name, made.menu, made.person, made.image) == ("面", ("牛肉面", "炸酱面"), "", "")
    assert (made.pick, made.rest_s, made.double_tap_s) == ("cyclic", 60, 1.5)
    assert (made.remind_after_s, made.release_after_min) == (20, 120)
    assert (made.balance_months, made.disabled, made.is_open) == (2, False, True)
    assert made.sellers == frozenset()


async def test_a_new_stall_without_months_is_there_but_not_open(canteen: Canteen) -> None:
    made = await new(canteen, months=0, name="面")

    assert not made.is_open
    assert await canteen.stalls.months(made.id) == []
    assert [event.name for event in await canteen.stream(made.id)] == ["stall.changed"]
    assert await canteen.stalls.open_stalls() == []
    assert await canteen.stalls.page(offset=0, most=10) == (1, [made])


async def test_a_phone_belongs_to_one_stall(canteen: Canteen) -> None:
    first, second = await new(canteen), await new(canteen, "13900000002")
    before = await canteen.rows()

    with pytest.raises(PhoneTaken):
        await new(canteen)
    with pytest.raises(PhoneTaken):
        await canteen.stalls.change(second.id, {"phone": PHONE, "name": "x"})

    assert await canteen.rows() == before
    await canteen.stalls.change(first.id, {"phone": PHONE})


async def test_of_twenty_who_make_a_stall_with_one_phone_one_does(canteen: Canteen) -> None:
    outcomes = await asyncio.gather(*(new(canteen) for _ in range(20)), return_exceptions=True)

    assert sum(isinstance(outcome, Stall) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, PhoneTaken) for outcome in outcomes) == 19
    assert (await canteen.stalls.page(offset=0, most=10))[0] == 1


@pytest.mark.mariadb
async def test_of_two_processes_that_make_a_stall_with_one_phone_one_does(
    two: tuple[Canteen, Canteen],
) -> None:
    for turn in range(8):
        phone = f"1390000{turn:04d}"

        outcomes = await asyncio.gather(
            *(new(process, phone) for process in two), return_exceptions=True
        )

        assert sorted(type(o).__name__ for o in outcomes) == ["PhoneTaken", "Stall"]


# Changing


async def test_a_change_says_to_everyone_what_everyone_may_know(canteen: Canteen) -> None:
    stall = await canteen.stall(person="王师傅")

    changed = await canteen.stalls.change(
        stall.id, {"name": "新", "menu": ("面",), "disabled": True, "person": "李师傅"}
    )

    assert changed == await canteen.stalls.get(stall.id)
    assert (changed.name, changed.menu, changed.disabled) == ("新", ("面",), True)
    event = (await canteen.stream(stall.id))[-1]
    assert event.name == "stall.changed"
    assert data(event) == {"stall_id": stall.id, "name": "新", "open": False}
    assert private(event) == data(event) | {"balance_months": 3, "disabled": True}
    assert canteen.stalls.image_url(changed) == ""


async def test_a_stall_that_is_not_there_is_said_to_be_not_there(canteen: Canteen) -> None:
    absent: list[Callable[[], Any]] = [
        lambda: canteen.stalls.get(77),
        lambda: canteen.stalls.change(77, {"name": "x"}),
        lambda: canteen.stalls.release_sellers(77),
        lambda: canteen.stalls.renew(77, months=1, reason="x", by=ADMIN, key="k"),
        lambda: canteen.db.write(store.charge_months, 77),
        lambda: canteen.queues.snapshot(77, staff=True),
    ]

    for ask in absent:
        with pytest.raises(StallNotFound):
            await ask()

    rows = await canteen.rows()
    assert not any(rows[table] for table in rows if table != "alembic_version")


async def test_a_seller_changes_his_own_stall_only(canteen: Canteen) -> None:
    stall, other = await canteen.stall(), await canteen.stall()

    changed = await canteen.stalls.change_own(seller_of(stall.id), {"name": "我的"})

    assert changed.name == "我的"
    assert (await canteen.stalls.get(other.id)).name == other.name
    for by in (DINER, Actor("seller", account_id=4711)):
        with pytest.raises(NotYourStall):
            await canteen.stalls.change_own(by, {"name": "x"})
    with pytest.raises(NotYourStall):
        await canteen.db.write(
            store.change_own_stall, stall.id, {"name": "x"}, seller=seller_of(other.id).account_id
        )


async def test_a_seller_without_months_changes_nothing(canteen: Canteen) -> None:
    stall = await canteen.stall(months=0)
    before = await canteen.rows()

    with pytest.raises(StallDue):
        await canteen.stalls.change_own(seller_of(stall.id), {"name": "x"})
    with pytest.raises(StallDue):
        await canteen.stalls.set_picture(seller_of(stall.id), picture())

    assert await canteen.rows() == before
    assert not canteen.media.exists()


async def test_pages_of_stalls_come_in_order(canteen: Canteen) -> None:
    made = [await new(canteen, f"139000000{n:02d}") for n in range(10, 15)]

    pages = [await canteen.stalls.page(offset=offset, most=2) for offset in (0, 2, 4, 6)]

    assert [total for total, _ in pages] == [5, 5, 5, 5]
    assert [stall.id for _, page in pages for stall in page] == [stall.id for stall in made]


# Pictures and codes


async def test_a_new_picture_takes_the_old_ones_place(canteen: Canteen) -> None:
    stall = await canteen.stall()
    seller = seller_of(stall.id)

    first = await canteen.stalls.set_picture(seller, picture())
    again = await canteen.stalls.set_picture(seller, picture())
    second = await canteen.stalls.set_picture(seller, picture("blue"))

    assert first.image == again.image != second.image
    assert [path.name for path in canteen.media.iterdir()] == [second.image]
    assert canteen.stalls.image_url(second) == f"https://callme.test/media/{second.image}"


async def test_a_bad_picture_leaves_the_good_one(canteen: Canteen) -> None:
    stall = await canteen.stall()
    seller = seller_of(stall.id)
    good = await canteen.stalls.set_picture(seller, picture())

    with pytest.raises(BadPicture):
        await canteen.stalls.set_picture(seller, b"<svg/>")

    assert (await canteen.stalls.get(stall.id)).image == good.image
    assert [path.name for path in canteen.media.iterdir()] == [good.image]


async def test_the_mini_program_code_is_made_once(canteen: Canteen) -> None:
    stall = await canteen.stall()
    canteen.code = picture()

    urls = [await canteen.stalls.code_url(seller_of(stall.id)) for _ in range(3)]

    assert set(urls) == {f"https://callme.test/media/code-{stall.id}.png"}
    assert canteen.codes == [(f"sellerId={stall.id}", "pages/qu/qu")]


async def test_an_error_in_place_of_the_code_is_never_kept(canteen: Canteen) -> None:
    stall = await canteen.stall()
    canteen.code = b'{"errcode": 40001}'

    with pytest.raises(BadPicture):
        await canteen.stalls.code_url(seller_of(stall.id))

    canteen.code = picture()
    assert (await canteen.stalls.code_url(seller_of(stall.id))).endswith(".png")
    with pytest.raises(NotYourStall):
        await canteen.stalls.code_url(DINER)


# Signing up


async def test_of_twenty_who_sign_up_at_once_the_first_wins(canteen: Canteen) -> None:
    stall = await new(canteen)

    outcomes = await asyncio.gather(
        *(
            canteen.stalls.sign_up(Actor("seller", account_id=500 + n), phone=PHONE)
            for n in range(20)
        ),
        return_exceptions=True,
    )

    assert [o.sellers for o in outcomes if isinstance(o, Stall)] == [frozenset({500})]
    assert sum(isinstance(outcome, ClaimRefused) for outcome in outcomes) == 19
    assert (await canteen.stalls.get(stall.id)).sellers == {500}


@pytest.mark.mariadb
async def test_of_two_processes_sellers_one_wins(two: tuple[Canteen, Canteen]) -> None:
    for turn in range(5):
        await new(two[0], phone := f"1390000{turn:04d}")

        outcomes = await asyncio.gather(
            *(
                process.stalls.sign_up(Actor("seller", account_id=500 + 10 * turn + n), phone=phone)
                for n, process in enumerate(two)
            ),
            return_exceptions=True,
        )

        assert sorted(type(o).__name__ for o in outcomes) == ["ClaimRefused", "Stall"]


@pytest.mark.mariadb
async def test_an_account_gets_one_stall_of_two_it_asks_for_at_once(
    two: tuple[Canteen, Canteen],
) -> None:
    for turn in range(5):
        phones = [f"139000{turn:02d}{n:03d}" for n in range(2)]
        for phone in phones:
            await new(two[0], phone)

        outcomes = await asyncio.gather(
            *(
                process.stalls.sign_up(Actor("seller", account_id=500 + turn), phone=phone)
                for process, phone in zip(two, phones, strict=True)
            ),
            return_exceptions=True,
        )

        assert sorted(type(o).__name__ for o in outcomes) == ["HasStall", "Stall"]


async def test_what_is_said_at_signing_up_is_kept_and_blanks_are_not(canteen: Canteen) -> None:
    await new(canteen, name="旧名", person="旧人")
    by = Actor("seller", account_id=500)

    stall = await canteen.stalls.sign_up(by, phone=PHONE, name="新名")

    assert (stall.name, stall.person) == ("新名", "旧人")
    assert await canteen.stalls.of_seller(by) == stall
    assert [event.name for event in (await canteen.stream(stall.id))[-2:]] == [
        "stall.signed_up",
        "stall.changed",
    ]


async def test_a_code_is_asked_for_where_there_is_one_and_good_once(canteen: Canteen) -> None:
    stall = await new(canteen, claim_code="白菜-42")
    by = Actor("seller", account_id=500)
    before = await canteen.rows()

    for wrong in ("", "白菜", "白菜-421", "\ud800", "x" * 1000):
        with pytest.raises(ClaimRefused):
            await canteen.stalls.sign_up(by, phone=PHONE, code=wrong)
    assert await canteen.rows() == before
    await canteen.stalls.sign_up(by, phone=PHONE, code="白菜-42")

    await canteen.stalls.release_sellers(stall.id)
    await canteen.stalls.sign_up(Actor("seller", account_id=501), phone=PHONE, code="whatever")


async def test_the_reasons_to_refuse_a_sign_up(canteen: Canteen) -> None:
    mine = await canteen.stall()
    await new(canteen)
    await new(canteen, "13900000002", months=0)
    before = await canteen.rows()

    for refusal, by, phone in [
        (ClaimRefused, DINER, "13700000000"),
        (ClaimRefused, DINER, ""),
        (ClaimRefused, DINER, mine.phone),
        (StallDue, DINER, "13900000002"),
        (HasStall, seller_of(mine.id), PHONE),
    ]:
        with pytest.raises(refusal):
            await canteen.stalls.sign_up(by, phone=phone)

    assert await canteen.rows() == before


class Interrupting:
    """A transaction in which something else happens right before the first lock is taken."""

    def __init__(self, tx: Tx, happens: Callable[[Tx], object]) -> None:
        self._tx = tx
        self._happens: Callable[[Tx], object] | None = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    def execute(self, statement: Any, parameters: Any = None) -> Any:
        if self._happens is not None and "streams" in str(statement):
            happens, self._happens = self._happens, None
            happens(self._tx)
        return self._tx.execute(statement, parameters)


async def test_a_phone_that_changes_before_the_lock_is_taken_claims_nothing(
    canteen: Canteen,
) -> None:
    stall = await new(canteen)

    def claim(tx: Tx) -> None:
        interrupted: Any = Interrupting(
            tx, lambda tx: execute(tx, "UPDATE stalls SET phone = '13911111111'")
        )
        store.claim_stall(interrupted, account_id=500, phone=PHONE, code="", values={})

    with pytest.raises(ClaimRefused):
        await canteen.db.write(claim)

    assert (await canteen.stalls.get(stall.id)).sellers == frozenset()


async def test_a_stall_taken_back_can_be_signed_up_anew(canteen: Canteen) -> None:
    stall = await canteen.stall()

    released = await canteen.stalls.release_sellers(stall.id)

    assert released.sellers == frozenset()
    with pytest.raises(NotYourStall):
        await canteen.stalls.of_seller(seller_of(stall.id))
    signed = await canteen.stalls.sign_up(Actor("seller", account_id=500), phone=stall.phone)
    assert signed.sellers == {500}


async def test_who_runs_a_stall_is_asked_anew_when_an_answer_was_lost(canteen: Canteen) -> None:
    stall = await new(canteen)
    changes: list[str] = []
    canteen.stalls._sellers_changed = lambda: changes.append("changed")

    canteen.stalls._db = LostAnswers(canteen.db)  # type: ignore[assignment]
    with pytest.raises(CommitUnknown):
        await canteen.stalls.sign_up(DINER, phone=PHONE)
    with pytest.raises(CommitUnknown):
        await canteen.stalls.release_sellers(stall.id)

    assert changes == ["changed", "changed"]


class LostAnswers:
    """A database whose commits are done, and whose answers never come."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def write(self, *args: Any, **named: Any) -> None:
        await self._db.write(*args, **named)
        raise CommitUnknown("no answer to the commit in time")


# Renewing


async def test_a_renewal_is_entered_and_told_to_staff(canteen: Canteen) -> None:
    stall = await canteen.stall(months=3)

    renewed = await canteen.stalls.renew(stall.id, months=12, reason="cash", by=ADMIN)

    assert (renewed.added, renewed.balance_months, renewed.created) == (12, 15, False)
    assert (await canteen.stalls.months(stall.id))[0] == MonthEntry(
        canteen.clock.now(), None, 12, 15, "cash", ADMIN.account_id
    )
    event = (await canteen.stream(stall.id))[-2]
    assert (event.name, event.data) == ("stall.renewed", b"")
    assert private(event) == {"months": 12, "balance_months": 15}


async def test_a_renewal_with_a_key_is_made_once(canteen: Canteen) -> None:
    stall = await canteen.stall(months=3)

    renewals = await asyncio.gather(
        *(
            canteen.stalls.renew(stall.id, months=2, reason="cash", by=ADMIN, key="k")
            for _ in range(10)
        )
    )

    assert {renewal.balance_months for renewal in renewals} == {5}
    with pytest.raises(KeyReused):
        await canteen.stalls.renew(stall.id, months=3, reason="cash", by=ADMIN, key="k")
    assert (await canteen.stalls.get(stall.id)).balance_months == 5


@pytest.mark.mariadb
async def test_a_key_in_two_processes_renews_once(two: tuple[Canteen, Canteen]) -> None:
    stall = await two[0].stall(months=3)

    for turn in range(6):
        await asyncio.gather(
            *(
                process.stalls.renew(stall.id, months=2, reason="cash", by=ADMIN, key=f"k{turn}")
                for process in two
            )
        )

    assert (await two[1].stalls.get(stall.id)).balance_months == 3 + 6 * 2


async def test_without_a_key_each_renewal_counts(canteen: Canteen) -> None:
    stall = await canteen.stall(months=1)

    for _ in range(3):
        await canteen.stalls.renew(stall.id, months=1, reason="cash", by=ADMIN)

    assert (await canteen.stalls.get(stall.id)).balance_months == 4


async def test_months_are_never_taken_by_a_renewal(canteen: Canteen) -> None:
    stall = await canteen.stall(months=3)

    for months in (0, -1):
        with pytest.raises(AssertionError):
            await canteen.stalls.renew(stall.id, months=months, reason="x", by=ADMIN)

    assert (await canteen.stalls.get(stall.id)).balance_months == 3


async def test_the_old_renewal_makes_an_unknown_stall(canteen: Canteen) -> None:
    renewed = await canteen.stalls.renew_by_phone(PHONE, months=3, by=ADMIN)

    stall = await canteen.stalls.get(renewed.stall_id)
    assert (renewed.created, renewed.added, renewed.balance_months) == (True, 3, 3)
    assert (stall.phone, stall.name, stall.menu) == (PHONE, "", ("空",))


@pytest.mark.parametrize("seconds", [0, 1, 10, -1, -10])
async def test_the_same_old_renewal_a_moment_later_adds_nothing(
    canteen: Canteen, seconds: int
) -> None:
    await canteen.stalls.renew_by_phone(PHONE, months=3, by=ADMIN)
    canteen.clock.advance(seconds=seconds)

    renewed = await canteen.stalls.renew_by_phone(PHONE, months=3, by=ADMIN)

    assert (renewed.created, renewed.added, renewed.balance_months) == (False, 0, 3)


async def test_another_old_renewal_counts(canteen: Canteen) -> None:
    stall_id = (await canteen.stalls.renew_by_phone(PHONE, months=3, by=ADMIN)).stall_id
    other = Actor("admin", account_id=901)

    await canteen.stalls.renew_by_phone(PHONE, months=2, by=ADMIN)
    await canteen.stalls.renew_by_phone(PHONE, months=2, by=other)
    canteen.clock.advance(seconds=10.001)
    await canteen.stalls.renew_by_phone(PHONE, months=2, by=other)
    await canteen.stalls.renew(stall_id, months=2, reason="by hand", by=other)
    await canteen.stalls.renew_by_phone(PHONE, months=2, by=other)

    assert (await canteen.stalls.get(stall_id)).balance_months == 3 + 2 * 5


async def test_an_old_renewal_finds_a_stall_whose_months_were_never_bought(
    canteen: Canteen,
) -> None:
    stall = await new(canteen, months=0)

    renewed = await canteen.stalls.renew_by_phone(PHONE, months=1, by=ADMIN)

    assert (renewed.stall_id, renewed.added) == (stall.id, 1)


@pytest.mark.mariadb
async def test_an_old_renewal_in_two_processes_at_once_is_one(
    two: tuple[Canteen, Canteen],
) -> None:
    for turn in range(8):
        phone = f"1390000{turn:04d}"

        renewals = await asyncio.gather(
            *(process.stalls.renew_by_phone(phone, months=3, by=ADMIN) for process in two)
        )

        assert sorted((r.created, r.added) for r in renewals) == [(False, 0), (True, 3)]
        stall = await two[0].stalls.get(renewals[0].stall_id)
        assert stall.balance_months == 3
