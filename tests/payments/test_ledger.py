"""What is posted is posted once, comes to zero, and takes no user's account below nothing."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError

from payments.ledger import holds, store
from payments.ledger.model import (
    AMOUNT_MAX,
    BALANCE_MAX,
    GATEWAY,
    OPENING,
    POINT_ISSUE,
    PROMO,
    REFUND_PENDING,
    SALES,
    SUSPENSE,
    TICKET_ISSUE,
    TICKET_REDEEMED,
    Account,
    AlreadyReversed,
    Asset,
    BadPosting,
    HoldResolved,
    Journal,
    JournalDiffers,
    JournalNotFound,
    LedgerError,
    Lines,
    Overdrawn,
    Posting,
    balance_of,
    deposit_of,
    hold_of,
    points_of,
    tickets_of,
)
from payments.ledger.store import post, post_many
from sql.database import Database, Tx
from tests.payments.postings import LI, WANG, balance, count, given, paid, spent, tickets

# ---------------------------------------------------------------- posting


async def test_a_posting_becomes_a_journal_and_moves_balances(db: Database) -> None:
    journal = await db.write(post, "order", "41", "paid", paid(1230), "lunch")

    assert (journal.id, journal.biz, journal.biz_id, journal.step) == (1, "order", "41", "paid")
    assert (journal.memo, journal.reverses, journal.at) == ("lunch", None, db.now())
    assert [tuple(entry) for entry in journal.entries] == [
        (GATEWAY, Asset.CNY, -1230, -1230),
        (SALES, Asset.CNY, 1230, 1230),
    ]
    assert (await balance(db, GATEWAY), await balance(db, SALES)) == (-1230, 1230)
    assert await db.read(store.journals_of, "order", "41") == [journal]


async def test_journals_are_numbered_without_gaps_even_when_some_are_refused(
    db: Database,
) -> None:
    for user in (1, 2):
        with pytest.raises(Overdrawn):
            await db.write(post, "meal", str(user), "paid", spent(user, 5))
        await db.write(post, "grant", str(user), "given", given(user, 5))

    journals = await db.read(store.read_journals, range(10))

    assert sorted(journals) == [1, 2]


async def test_the_same_again_gives_the_first_journal_whatever_its_memo(
    db: Database,
) -> None:
    first = await db.write(post, "order", "41", "paid", paid(1230), "by notice")

    again = await db.write(post, "order", "41", "paid", paid(1230), "by query")

    assert again == first
    assert await balance(db, SALES) == 1230


@pytest.mark.parametrize(
    "other",
    [paid(1231), paid(1230) + paid(1), [(GATEWAY, Asset.CNY, -1230), (SUSPENSE, Asset.CNY, 1230)]],
)
async def test_another_posting_under_the_same_key_is_refused(db: Database, other: Lines) -> None:
    first = await db.write(post, "order", "41", "paid", paid(1230))

    with pytest.raises(JournalDiffers) as refused:
        await db.write(post, "order", "41", "paid", other)

    assert refused.value.first == first
    assert (await balance(db, SALES), await balance(db, SUSPENSE)) == (1230, 0)


async def test_steps_of_one_thing_and_equal_ids_of_two_are_kept_apart(db: Database) -> None:
    await db.write(post, "order", "41", "paid", paid(1))
    await db.write(post, "order", "41", "more", paid(2))
    await db.write(post, "renewal", "41", "paid", paid(4))
    await db.write(post, "order", "042", "paid", paid(8))
    await db.write(post, "Order", "42", "paid", paid(16))
    await db.write(post, "order", "42", "paid", paid(32))

    assert await balance(db, SALES) == 63


async def test_no_user_is_ever_overdrawn(db: Database) -> None:
    await db.write(post, "grant", "1", "given", given(LI, 100))

    with pytest.raises(Overdrawn) as refused:
        await db.write(post, "meal", "1", "paid", spent(LI, 101))

    assert (refused.value.account, refused.value.asset) == (tickets_of(LI), Asset.TICKET)
    assert refused.value.missing == 1
    assert "1 TICKET short in user:ticket of 7" in str(refused.value)
    assert (await tickets(db), await count(db, "ledger_journals")) == (100, 1)
    await db.write(post, "meal", "2", "paid", spent(LI, 100))
    assert await tickets(db) == 0


async def test_not_even_between_two_entries_of_one_journal(db: Database) -> None:
    early = spent(LI, 5) + given(LI, 5)

    with pytest.raises(Overdrawn):
        await db.write(post, "odd", "1", "x", early)

    await db.write(post, "odd", "1", "x", [*given(LI, 5), *spent(LI, 5)])
    assert await tickets(db) == 0


async def test_a_refused_posting_takes_its_entries_back(db: Database) -> None:
    """The second of its accounts is short; the first must be as it was, also for the next."""
    await db.write(post, "grant", "1", "given", given(LI, 10))
    both = [*spent(LI, 10), *spent(WANG, 1)]

    outcomes = await db.write(
        post_many,
        [Posting("meal", "1", "paid", both), Posting("meal", "2", "paid", spent(LI, 10))],
    )

    assert isinstance(outcomes[0], Overdrawn)
    assert isinstance(outcomes[1], Journal)
    assert (await tickets(db), await tickets(db, WANG)) == (0, 0)


async def test_the_house_may_owe(db: Database) -> None:
    await db.write(post, "order", "1", "refund", paid(-500))

    assert await balance(db, SALES) == -500


async def test_the_database_itself_refuses_an_overdraft(db: Database) -> None:
    await db.write(post, "grant", "1", "given", given(LI, 10))

    def overdraw(tx: Tx) -> None:
        tx.execute(text("UPDATE ledger_accounts SET balance = -1 WHERE kind = 'user:ticket'"))

    with pytest.raises((IntegrityError, OperationalError), match=r"(?i)ck_ledger_accounts_floor"):
        await db.write(overdraw)


async def test_the_statement_that_writes_balances_is_checked_too(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store._Balance, "add", _add_anyway)

    with pytest.raises((IntegrityError, OperationalError), match=r"(?i)ck_ledger_accounts_floor"):
        await db.write(post, "meal", "1", "paid", spent(LI, 1))

    assert await count(db, "ledger_journals") == 0


def _add_anyway(self: Any, line: Any) -> int:
    self.balance += line.amount
    self.version += 1
    return int(self.balance)


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [(GATEWAY, Asset.CNY, -1)],
        [(GATEWAY, Asset.CNY, -2), (SALES, Asset.CNY, 1)],
        [(GATEWAY, Asset.CNY, 0), (SALES, Asset.CNY, 0)],
        [(GATEWAY, Asset.CNY, -1.0), (SALES, Asset.CNY, 1.0)],
        [(GATEWAY, Asset.CNY, -1), (SALES, Asset.CNY, True)],
        [(GATEWAY, Asset.CNY, -AMOUNT_MAX - 1), (SALES, Asset.CNY, AMOUNT_MAX + 1)],
        # Zero altogether, but not in each asset.
        [(balance_of(LI), Asset.CNY, 5), (TICKET_ISSUE, Asset.TICKET, -5)],
        # Accounts that there are not, or that cannot hold such a thing.
        [(Account(0, "savings"), Asset.CNY, -1), (SALES, Asset.CNY, 1)],
        [(Account(LI, "sales"), Asset.CNY, -1), (SALES, Asset.CNY, 1)],
        [(Account(0, "user:balance"), Asset.CNY, -1), (SALES, Asset.CNY, 1)],
        [(balance_of(-LI), Asset.CNY, -1), (SALES, Asset.CNY, 1)],
        [(balance_of(2**63), Asset.CNY, -1), (SALES, Asset.CNY, 1)],
        [(Account(LI, "user:wallet"), Asset.CNY, -1), (SALES, Asset.CNY, 1)],
        [(deposit_of(LI, ""), Asset.CNY, -1), (SALES, Asset.CNY, 1)],
        [(deposit_of(LI, "3 "), Asset.CNY, -1), (SALES, Asset.CNY, 1)],
        [(deposit_of(LI, "9" * 80), Asset.CNY, -1), (SALES, Asset.CNY, 1)],
        [(SALES, Asset.TICKET, -1), (TICKET_ISSUE, Asset.TICKET, 1)],
        [(tickets_of(LI), Asset.POINT, -1), (POINT_ISSUE, Asset.POINT, 1)],
        [(deposit_of(LI, 3), Asset.TICKET, -1), (TICKET_ISSUE, Asset.TICKET, 1)],
        # What is held has verbs of its own.
        [(hold_of(LI, "door"), Asset.CNY, -1), (SALES, Asset.CNY, 1)],
    ],
)
async def test_what_is_no_posting_is_refused(db: Database, entries: Any) -> None:
    with pytest.raises(BadPosting):
        await db.write(post, "order", "41", "paid", entries)

    assert await count(db, "ledger_accounts") == 0


@pytest.mark.parametrize(
    ("biz", "biz_id", "step"),
    [
        *(("", "1", "x"), ("b", "", "x"), ("b", "1", ""), ("b", "1 ", "x"), ("b", "一", "x")),
        *(("b" * 41, "1", "x"), ("b", "1" * 65, "x"), ("b", "1", "x" * 41), ("b", "1\n", "x")),
    ],
)
async def test_a_key_that_two_databases_might_read_differently_is_refused(
    db: Database, biz: str, biz_id: str, step: str
) -> None:
    with pytest.raises(BadPosting):
        await db.write(post, biz, biz_id, step, paid(1))


async def test_a_balance_that_cannot_be_counted_is_refused(db: Database) -> None:
    await db.write(post, "order", "1", "paid", paid(AMOUNT_MAX))

    def fill(tx: Tx) -> None:
        tx.execute(
            text("UPDATE ledger_accounts SET balance = :all WHERE kind = 'sales'"),
            {"all": BALANCE_MAX},
        )

    await db.write(fill)

    with pytest.raises(BadPosting, match="too much"):
        await db.write(post, "order", "2", "paid", paid(1))


async def test_a_memo_is_cut_to_its_column_and_made_unicode(db: Database) -> None:
    journal = await db.write(post, "order", "1", "paid", paid(1), "\ud800" + "长" * 300)

    (read,) = await db.read(store.journals_of, "order", "1")
    assert read == journal
    assert (len(read.memo), read.memo[:7]) == (200, "\\ud800长")


async def test_a_user_has_accounts_apart_for_each_purpose_and_asset(db: Database) -> None:
    await db.write(
        post,
        "opening",
        "7",
        "given",
        [
            (OPENING, Asset.CNY, -1000),
            (balance_of(LI), Asset.CNY, 700),
            (deposit_of(LI, 3), Asset.CNY, 300),
            (POINT_ISSUE, Asset.POINT, -10),
            (points_of(LI), Asset.POINT, 10),
        ],
    )
    await db.write(post, "grant", "1", "given", given(LI, 5))

    assert await db.read(store.balances, LI) == {
        (balance_of(LI), Asset.CNY): 700,
        (deposit_of(LI, 3), Asset.CNY): 300,
        (points_of(LI), Asset.POINT): 10,
        (tickets_of(LI), Asset.TICKET): 5,
    }
    assert await db.read(store.balances, WANG) == {}
    assert await balance(db, balance_of(WANG)) == 0


async def test_a_statement_shows_the_newest_first_and_goes_back(db: Database) -> None:
    await db.write(post, "grant", "1", "given", given(LI, 10), "welcome")
    await db.write(post, "meal", "1", "paid", spent(LI, 3))
    await db.write(post, "meal", "2", "paid", spent(LI, 4))

    def lines(tx: Tx, before: int | None = None) -> list[tuple[int, int, int, str]]:
        found = store.statement(tx, tickets_of(LI), Asset.TICKET, most=2, before=before)
        return [(each.version, each.amount, each.balance_after, each.memo) for each in found]

    assert await db.read(lines) == [(3, -4, 3, ""), (2, -3, 7, "")]
    assert await db.read(lines, 2) == [(1, 10, 10, "welcome")]
    assert await db.read(store.statement, tickets_of(WANG), Asset.TICKET) == []


# ---------------------------------------------------------------- many at once


async def test_a_list_is_posted_in_its_order_each_with_an_outcome(db: Database) -> None:
    await db.write(post, "order", "1", "paid", paid(1))
    asked = [
        Posting("order", "1", "paid", paid(1)),  # Known.
        Posting("order", "1", "paid", paid(2)),  # Differs from what is known.
        Posting("meal", "1", "paid", spent(LI, 5)),  # Not enough yet.
        Posting("grant", "1", "given", given(LI, 5)),
        Posting("meal", "1", "paid", spent(LI, 5)),  # Now there is.
        Posting("meal", "1", "paid", spent(LI, 5)),  # A repeat within the list.
        Posting("meal", "1", "paid", spent(LI, 4)),  # Differs within the list.
        Posting("odd", "1", "x", [(SALES, Asset.CNY, 1)]),
    ]

    outcomes = await db.write(post_many, asked)

    assert [type(outcome) for outcome in outcomes] == [
        *(Journal, JournalDiffers, Overdrawn, Journal),
        *(Journal, Journal, JournalDiffers, BadPosting),
    ]
    journals = [outcome for outcome in outcomes if isinstance(outcome, Journal)]
    assert [journal.id for journal in journals] == [1, 2, 3, 3]
    assert await db.write(post_many, asked[3:6]) == [journals[1], journals[2], journals[2]]
    assert await tickets(db) == 0


async def test_an_empty_list_and_one_of_refusals_write_nothing(db: Database) -> None:
    assert await db.write(post_many, []) == []
    (refused,) = await db.write(post_many, [Posting("", "", "", [])])

    assert isinstance(refused, BadPosting)
    assert await count(db, "ledger_journals") == 0


async def test_more_accounts_and_keys_than_one_query_takes(db: Database) -> None:
    asked = [Posting("grant", str(user), "given", given(user, user)) for user in range(1, 1202)]

    first = await db.write(post_many, asked)
    again = await db.write(post_many, asked)

    assert again == first
    assert (await tickets(db, 1), await tickets(db, 1201)) == (1, 1201)
    assert await balance(db, TICKET_ISSUE, Asset.TICKET) == -1201 * 601


async def test_several_postings_in_one_transaction_see_each_other(db: Database) -> None:
    def both(tx: Tx) -> list[int]:
        first = post(tx, "grant", "1", "given", given(LI, 5))
        return [first.id, post(tx, "meal", "1", "paid", spent(LI, 5)).id]

    assert await db.write(both) == [1, 2]
    assert await tickets(db) == 0


async def test_what_is_rolled_back_leaves_nothing_behind(db: Database) -> None:
    def post_and_fail(tx: Tx) -> None:
        post(tx, "grant", "1", "given", given(LI, 5))
        raise ValueError("whatever")

    with pytest.raises(ValueError, match="whatever"):
        await db.write(post_and_fail)

    assert (await tickets(db), await count(db, "ledger_journals")) == (0, 0)
    journal = await db.write(post, "grant", "2", "given", given(LI, 5))
    assert journal.id == 1


# ---------------------------------------------------------------- reversing


async def test_a_journal_is_taken_back_by_its_opposite(db: Database) -> None:
    journal = await db.write(post, "grant", "1", "given", given(LI, 5))

    reversal = await db.write(store.reverse, journal.id, "given by mistake")

    assert (reversal.reverses, reversal.memo) == (journal.id, "given by mistake")
    assert [(entry.account, entry.amount) for entry in reversal.entries] == [
        (tickets_of(LI), -5),
        (TICKET_ISSUE, 5),
    ]
    assert await tickets(db) == 0


async def test_taking_back_again_gives_the_first_reversal(db: Database) -> None:
    journal = await db.write(post, "grant", "1", "given", given(LI, 5))
    first = await db.write(store.reverse, journal.id)

    again = await db.write(store.reverse, journal.id)

    assert again == first
    assert await balance(db, TICKET_ISSUE, Asset.TICKET) == 0


async def test_under_no_other_key_is_a_journal_taken_back_a_second_time(
    db: Database,
) -> None:
    journal = await db.write(post, "grant", "1", "given", given(LI, 5))
    await db.write(post, "grant", "2", "given", given(LI, 5))
    back = list(reversed(given(LI, -5)))
    asked = [Posting("undo", str(n), "x", back, reverses=journal.id) for n in range(2)]

    outcomes = await db.write(post_many, asked)
    with pytest.raises(AlreadyReversed):
        await db.write(store.reverse, journal.id)

    assert [type(outcome) for outcome in outcomes] == [Journal, AlreadyReversed]
    assert await tickets(db) == 5


async def test_a_reversal_that_is_refused_may_come_later(db: Database) -> None:
    journal = await db.write(post, "grant", "1", "given", given(LI, 5))
    await db.write(post, "meal", "1", "paid", spent(LI, 1))
    with pytest.raises(Overdrawn):
        await db.write(store.reverse, journal.id)
    await db.write(post, "grant", "2", "given", given(LI, 1))

    reversal = await db.write(store.reverse, journal.id)

    assert reversal.reverses == journal.id
    assert await tickets(db) == 0


async def test_what_is_not_there_is_not_taken_back(db: Database) -> None:
    with pytest.raises(JournalNotFound):
        await db.write(store.reverse, 41)
    with pytest.raises(JournalNotFound):
        await db.write(post, "undo", "1", "x", paid(-1), "", 41)


async def test_only_the_exact_opposite_takes_a_journal_back(db: Database) -> None:
    journal = await db.write(post, "order", "1", "paid", paid(100))

    with pytest.raises(BadPosting):
        await db.write(post, "undo", "1", "x", paid(-99), "", journal.id)

    assert await balance(db, SALES) == 100


async def test_neither_a_reversal_nor_a_hold_is_taken_back(db: Database) -> None:
    await db.write(post, "grant", "1", "given", given(LI, 5))
    held = await db.write(holds.hold, "door", "1", tickets_of(LI), Asset.TICKET, 5)
    journal = await db.write(post, "order", "1", "paid", paid(100))
    reversal = await db.write(store.reverse, journal.id)

    for each in (reversal, held):
        with pytest.raises(BadPosting):
            await db.write(store.reverse, each.id)


# ---------------------------------------------------------------- holding


@pytest.fixture
async def rich_db(db: Database) -> Database:
    await db.write(post, "grant", "1", "given", given(LI, 500))
    return db


async def held_tickets(db: Database) -> int:
    return await balance(db, hold_of(LI, "door"), Asset.TICKET)


async def hold(db: Database, session: int, amount: int) -> Journal:
    return await db.write(holds.hold, "door", str(session), tickets_of(LI), Asset.TICKET, amount)


async def capture(db: Database, session: int, amount: int, more: Lines = ()) -> Journal:
    return await db.write(
        holds.capture, "door", str(session), amount=amount, to=TICKET_REDEEMED, more=more
    )


async def test_what_is_held_cannot_be_spent(rich_db: Database) -> None:
    await hold(rich_db, 1, 400)

    with pytest.raises(Overdrawn):
        await rich_db.write(post, "meal", "1", "paid", spent(LI, 101))

    assert (await tickets(rich_db), await held_tickets(rich_db)) == (100, 400)


async def test_more_than_there_is_cannot_be_held(rich_db: Database) -> None:
    with pytest.raises(Overdrawn):
        await hold(rich_db, 1, 501)

    assert (await tickets(rich_db), await held_tickets(rich_db)) == (500, 0)


async def test_a_hold_is_captured_whole(rich_db: Database) -> None:
    await hold(rich_db, 1, 400)

    journal = await capture(rich_db, 1, 400)

    assert [entry.amount for entry in journal.entries] == [-400, 400]
    assert (await tickets(rich_db), await held_tickets(rich_db)) == (100, 0)


async def test_what_is_not_captured_goes_back(rich_db: Database) -> None:
    await hold(rich_db, 1, 400)

    await capture(rich_db, 1, 150)

    assert (await tickets(rich_db), await held_tickets(rich_db)) == (350, 0)
    assert await balance(rich_db, TICKET_REDEEMED, Asset.TICKET) == 150


async def test_a_hold_is_released(rich_db: Database) -> None:
    await hold(rich_db, 1, 400)

    await rich_db.write(holds.release, "door", "1")

    assert (await tickets(rich_db), await held_tickets(rich_db)) == (500, 0)


async def test_holding_and_resolving_again_changes_nothing(rich_db: Database) -> None:
    assert await hold(rich_db, 1, 400) == await hold(rich_db, 1, 400)
    assert await capture(rich_db, 1, 150) == await capture(rich_db, 1, 150)
    await hold(rich_db, 2, 10)
    release = await rich_db.write(holds.release, "door", "2")
    assert await rich_db.write(holds.release, "door", "2") == release

    # The hold is over, but it was there: the same question still has its answer.
    assert (await hold(rich_db, 1, 400)).id == 2
    assert (await tickets(rich_db), await held_tickets(rich_db)) == (350, 0)


async def test_a_hold_is_resolved_once(rich_db: Database) -> None:
    await hold(rich_db, 1, 400)
    await hold(rich_db, 2, 100)
    captured = await capture(rich_db, 1, 150)
    released = await rich_db.write(holds.release, "door", "2")

    with pytest.raises(HoldResolved) as refused:
        await rich_db.write(holds.release, "door", "1")
    assert refused.value.by == captured
    with pytest.raises(HoldResolved):
        await capture(rich_db, 1, 151)
    with pytest.raises(HoldResolved) as refused:
        await capture(rich_db, 2, 100)
    assert refused.value.by == released

    assert (await tickets(rich_db), await held_tickets(rich_db)) == (350, 0)


async def test_one_hold_never_takes_from_another(rich_db: Database) -> None:
    await hold(rich_db, 1, 100)
    await hold(rich_db, 2, 300)

    with pytest.raises(BadPosting):
        await capture(rich_db, 1, 101)
    await rich_db.write(holds.release, "door", "1")

    assert (await tickets(rich_db), await held_tickets(rich_db)) == (200, 300)


@pytest.mark.parametrize("amount", [0, -1])
async def test_nothing_and_less_is_neither_held_nor_captured(
    rich_db: Database, amount: int
) -> None:
    await hold(rich_db, 1, 100)

    with pytest.raises(BadPosting):
        await hold(rich_db, 2, amount)
    with pytest.raises(BadPosting):
        await capture(rich_db, 1, amount)


async def test_without_a_hold_there_is_nothing_to_resolve(rich_db: Database) -> None:
    with pytest.raises(JournalNotFound):
        await capture(rich_db, 1, 1)
    with pytest.raises(JournalNotFound):
        await rich_db.write(holds.release, "door", "1")


async def test_another_amount_under_the_same_hold_is_refused(rich_db: Database) -> None:
    await hold(rich_db, 1, 100)

    with pytest.raises(JournalDiffers):
        await hold(rich_db, 1, 101)


async def test_what_is_captured_goes_into_no_hold_and_takes_from_none(rich_db: Database) -> None:
    ticket, held = Asset.TICKET, hold_of(LI, "door")
    await hold(rich_db, 1, 100)
    await hold(rich_db, 2, 100)

    with pytest.raises(BadPosting):
        await rich_db.write(holds.capture, "door", "1", amount=100, to=held)
    with pytest.raises(BadPosting):
        await capture(rich_db, 1, 100, [(held, ticket, -100), (tickets_of(LI), ticket, 100)])

    assert await held_tickets(rich_db) == 200


async def test_the_steps_of_a_hold_are_for_holds(db: Database) -> None:
    for step in ("hold", "resolve"):
        with pytest.raises(BadPosting):
            await db.write(post, "order", "1", step, paid(5))


async def test_the_house_holds_nothing_from_itself(db: Database) -> None:
    with pytest.raises(BadPosting):
        await db.write(holds.hold, "door", "1", SALES, Asset.CNY, 5)


async def test_a_purchase_is_settled_from_a_hold_a_payment_and_a_coupon(
    db: Database,
) -> None:
    """Price 1000: deposit 300 (100 of it used), coupon 200, the rest by WeChat."""
    deposit = deposit_of(LI, 3)
    start = [(GATEWAY, Asset.CNY, -300), (deposit, Asset.CNY, 300)]
    await db.write(post, "deposit", "3", "paid", start)
    await db.write(holds.hold, "auction", "9", deposit, Asset.CNY, 300)

    journal = await db.write(
        holds.capture,
        "auction",
        "9",
        amount=100,
        to=SALES,
        more=[
            (GATEWAY, Asset.CNY, -700),
            (PROMO, Asset.CNY, -200),
            (SALES, Asset.CNY, 900),
        ],
        memo="settled",
    )

    assert await db.read(store.balances, 0) == {
        (GATEWAY, Asset.CNY): -1000,
        (SALES, Asset.CNY): 1000,
        (PROMO, Asset.CNY): -200,
    }
    assert await balance(db, deposit) == 200
    refund = [(deposit, Asset.CNY, -200), (REFUND_PENDING, Asset.CNY, 200)]
    await db.write(post, "deposit", "3", "refund", refund)
    assert await balance(db, deposit) == 0
    assert journal.step == "resolve"


def test_every_refusal_has_a_code_and_a_title_of_its_own() -> None:
    kinds: list[type[LedgerError]] = [LedgerError, *LedgerError.__subclasses__()]

    assert len({kind.code for kind in kinds}) == len({kind.title for kind in kinds}) == len(kinds)
