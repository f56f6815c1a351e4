"""Random histories of a ledger, and a tiny reference that says what must come of each step."""

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from payments.ledger import holds, store
from payments.ledger.model import (
    GATEWAY,
    OPENING,
    POINT_ISSUE,
    SALES,
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
    Overdrawn,
    Posting,
    balance_of,
    deposit_of,
    hold_of,
    points_of,
    tickets_of,
)
from sql.database import Tx

Place: TypeAlias = tuple[Account, Asset]
Lines: TypeAlias = tuple[tuple[Account, Asset, int], ...]
Expected: TypeAlias = int | type[Exception]
"""The id of the journal, or the refusal."""

CNY, TICKET, POINT = Asset.CNY, Asset.TICKET, Asset.POINT
TO_USERS = (
    (OPENING, balance_of, CNY),
    (TICKET_ISSUE, tickets_of, TICKET),
    (POINT_ISSUE, points_of, POINT),
)
FROM_USERS = ((balance_of, SALES, CNY), (tickets_of, TICKET_REDEEMED, TICKET))


class Reference:
    """A ledger in a few dictionaries."""

    def __init__(self) -> None:
        self.balances: dict[Place, int] = {}
        self.journals: list[tuple[tuple[str, str, str], Lines, int | None]] = []
        self.ids: dict[tuple[str, str, str], int] = {}
        self.reversed: set[int] = set()

    def post(self, key: tuple[str, str, str], lines: Lines, reverses: int | None) -> Expected:
        if key in self.ids:
            same = self.journals[self.ids[key] - 1] == (key, lines, reverses)
            return self.ids[key] if same else JournalDiffers
        if reverses is not None and reverses in self.reversed:
            return AlreadyReversed
        wrong = self._enter(lines)
        if wrong is not None:
            return wrong
        if reverses is not None:
            self.reversed.add(reverses)
        self.journals.append((key, lines, reverses))
        self.ids[key] = len(self.journals)
        return len(self.journals)

    def _enter(self, lines: Lines) -> type[Exception] | None:
        changed: dict[Place, int] = {}
        for account, asset, amount in lines:
            place = account, asset
            changed[place] = changed.get(place, self.balances.get(place, 0)) + amount
            if account.owner and changed[place] < 0:
                return Overdrawn
        self.balances |= changed
        return None

    def hold(self, biz_id: str, source: Account, asset: Asset, amount: int) -> Expected:
        held = hold_of(source.owner, "door")
        return self.post(
            ("door", biz_id, "hold"), ((source, asset, -amount), (held, asset, amount)), None
        )

    def resolve(self, biz_id: str, amount: int) -> Expected:
        """Capture an amount for the sales, or release with 0."""
        held = self.ids.get(("door", biz_id, "hold"))
        if held is None:
            return JournalNotFound
        (source, asset, _), (hold, _, whole) = self.journals[held - 1][1]
        if amount > whole:
            return BadPosting
        lines = [
            (hold, asset, -whole),
            (house_of(asset), asset, amount),
            (source, asset, whole - amount),
        ]
        outcome = self.post(
            ("door", biz_id, "resolve"), tuple(line for line in lines if line[2]), None
        )
        return HoldResolved if outcome is JournalDiffers else outcome

    def reverse(self, journal_id: int) -> Expected:
        if journal_id > len(self.journals):
            return JournalNotFound
        key, lines, reverses = self.journals[journal_id - 1]
        if key[0] == "door" or reverses is not None:
            return BadPosting
        opposite = tuple((account, asset, -amount) for account, asset, amount in reversed(lines))
        return self.post(("reversal", str(journal_id), "post"), opposite, journal_id)


def house_of(asset: Asset) -> Account:
    return {CNY: SALES, TICKET: TICKET_REDEEMED, POINT: POINT_ISSUE}[asset]


Step: TypeAlias = tuple[Callable[[Tx], Any], list[Expected]]
"""What is to be done, and what must come of it."""


class Historian:
    """Makes up steps of a history, and has the reference take each of them."""

    def __init__(self, chance: random.Random, *, users: int, most: int) -> None:
        self.chance = chance
        self.users = users
        self.most = most
        self.reference = Reference()
        self.asked: list[Posting] = []

    def step(self) -> Step:
        kind = self.chance.random()
        if kind < 0.6:
            return self._list()
        if kind < 0.75:
            return self._hold()
        if kind < 0.9:
            return self._resolve()
        return self._reverse()

    def _list(self) -> Step:
        postings = [self._posting() for _ in range(self.chance.randint(1, self.most))]
        expected = [
            self.reference.post(each.key, tuple(each.entries), each.reverses) for each in postings
        ]
        return lambda tx: store.post_many(tx, postings), expected

    def _posting(self) -> Posting:
        if self.asked and self.chance.random() < 0.1:
            # A repeat, or the same key for something else.
            known = self.chance.choice(self.asked)
            if self.chance.random() < 0.5:
                return known
            return Posting(*known.key, self._entries())
        posting = Posting("order", str(len(self.asked)), "paid", self._entries())
        self.asked.append(posting)
        return posting

    def _entries(self) -> Lines:
        amount, user = self.chance.randint(1, 100), self.chance.randint(1, self.users)
        kind = self.chance.randrange(5)
        if kind == 0:
            return (GATEWAY, CNY, -amount), (SALES, CNY, amount)
        if kind == 1:
            giver, of, asset = self.chance.choice(TO_USERS)
            return (giver, asset, -amount), (of(user), asset, amount)
        if kind == 2:
            of, house, asset = self.chance.choice(FROM_USERS)
            return (of(user), asset, -amount), (house, asset, amount)
        if kind == 3:
            other = self.chance.randint(1, self.users)
            return (tickets_of(user), TICKET, -amount), (tickets_of(other), TICKET, amount)
        # Of two assets, with more than two entries, and there and back on one account.
        back = self.chance.randint(0, amount)
        lines = [
            *((balance_of(user), CNY, -amount), (deposit_of(user, 1), CNY, amount)),
            *((deposit_of(user, 1), CNY, -back), (SALES, CNY, back)),
            *((POINT_ISSUE, POINT, -10), (points_of(user), POINT, 10)),
        ]
        return tuple(line for line in lines if line[2])

    def _hold(self) -> Step:
        user, amount = self.chance.randint(1, self.users), self.chance.randint(1, 100)
        biz_id = self._biz_id()
        of, asset = self.chance.choice(((balance_of, CNY), (tickets_of, TICKET)))
        expected = self.reference.hold(biz_id, of(user), asset, amount)
        return lambda tx: [holds.hold(tx, "door", biz_id, of(user), asset, amount)], [expected]

    def _resolve(self) -> Step:
        biz_id, amount = self._biz_id(), self.chance.choice((0, 0, self.chance.randint(1, 100)))
        held = self.reference.ids.get(("door", biz_id, "hold"), 0)
        to = house_of(self.reference.journals[held - 1][1][0][1]) if held else SALES
        expected = [self.reference.resolve(biz_id, amount)]
        if amount:
            return (lambda tx: [holds.capture(tx, "door", biz_id, amount=amount, to=to)]), expected
        return lambda tx: [holds.release(tx, "door", biz_id)], expected

    def _reverse(self) -> Step:
        journal_id = self.chance.randint(1, len(self.reference.journals) + 1)
        expected = self.reference.reverse(journal_id)
        return lambda tx: [store.reverse(tx, journal_id)], [expected]

    def _biz_id(self) -> str:
        """One of few, so that many are held, resolved and asked for again."""
        return str(self.chance.randint(1, 3 + len(self.reference.journals) // 4))


def came(outcomes: Sequence[Any]) -> list[Expected]:
    """Outcomes as the reference tells them."""
    return [each.id if isinstance(each, Journal) else type(each) for each in outcomes]
