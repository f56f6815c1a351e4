"""What becomes of a revision: nothing, waiting, a person's decision, or what is due.

The price is ours, of the planogram at the start of the session; what the vendor says it costs
only has to come to the same.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from hashlib import sha256

import msgspec

from commerce.sales.model import NAME_MAX
from devices.orders.model import (
    Body,
    Line,
    Lines,
    Revision,
    Verdict,
    Why,
    accepted,
    under_review,
)
from devices.sessions.model import DoorSession, State
from devices.vendors.port import Certainty, Item, OrderFact

LATE_STATES = frozenset({State.NOT_OPENED, State.REJECTED, State.TIMEOUT, State.NO_PURCHASE})
"""The person was told that nothing is charged, or that somebody looks at it."""

OPENED_LATE = "opened_late"

# What is wrong with the film only does not make the goods uncertain.
_HARMLESS = frozenset({"video"})

# The vendors' word for a reason they do not name.
_UNNAMED = "other"


class Standing(Enum):
    """Where a revision stands among those that are known."""

    NEW = "new"
    REPEATED = "repeated"
    OLD = "old"
    CONFLICT = "conflict"


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What a revision is judged by. limit_fen: above it a person decides.

    names: of our goods, which come before the vendor's. stock: how many of each there were at the
    opening, of those we count.
    """

    prices: Mapping[str, int]
    names: Mapping[str, str]
    limit_fen: int
    stock: Mapping[str, int]
    tolerance: int
    is_late: bool = False
    is_closed_book: bool = False
    """Nothing comes without a person any more: the session timed out."""
    was_decided: bool = False
    """A person has said what was taken; the vendor does not overrule that."""


class Judged(msgspec.Struct, frozen=True):
    verdict: Verdict
    why: Why = Why.NONE
    lines: Lines = ()
    text: str = ""


def content_hash(items: Sequence[Item], total_fen: int) -> str:
    """A digest of what is said to have been taken, and for how much; in whatever order."""
    content = sorted((each.sku, each.quantity, each.price_fen) for each in items)
    return sha256(msgspec.json.encode((content, total_fen))).hexdigest()


def strange_in(fact: OrderFact) -> list[str]:
    """Why the vendor itself has doubts about the goods."""
    return [each for each in fact.abnormal if each not in _HARMLESS]


def doubted(fact: OrderFact) -> OrderFact:
    """An order that the vendor tells as abnormal: in doubt, whichever reasons it gives, or none."""
    if strange_in(fact):
        return fact
    return msgspec.structs.replace(fact, abnormal=(*fact.abnormal, _UNNAMED))


def standing(fact: OrderFact, known: Sequence[Revision]) -> Standing:
    """Same number and content: nothing new, unless it was not certain before and is now, or is
    in doubt only now.
    """
    if not known:
        return Standing.NEW
    latest = max(each.rev for each in known)
    mark = content_hash(fact.items, fact.total_fen)
    same = [each for each in known if each.rev == fact.rev and each.content_hash == mark]
    if same:
        is_certain_now = fact.certainty is not Certainty.PROVISIONAL and all(
            each.certainty is Certainty.PROVISIONAL for each in same
        )
        is_news = is_certain_now or _is_doubted_now(fact, same)
        return Standing.NEW if is_news and fact.rev == latest else Standing.REPEATED
    if fact.rev < latest:
        return Standing.OLD
    return Standing.NEW if fact.rev > latest else Standing.CONFLICT


def _is_doubted_now(fact: OrderFact, same: Sequence[Revision]) -> bool:
    said = [each.body.fact for each in same if each.body.fact is not None]
    return bool(strange_in(fact)) and not any(strange_in(each) for each in said)


def is_late(session: DoorSession, known: Sequence[Revision]) -> bool:
    """Whether the session was over without a purchase when its order came."""
    if session.state in LATE_STATES or session.fail_code == OPENED_LATE:
        return True
    return any(each.why is Why.LATE for each in under_review(known))


def was_decided(known: Sequence[Revision]) -> bool:
    last = accepted(known)
    return last is not None and last.is_by_staff


def judge(fact: OrderFact, around: Around) -> Judged:
    """Whether a new revision is charged as it is, waits, or is for a person."""
    if fact.certainty is Certainty.PROVISIONAL:
        return Judged(Verdict.WAITING)
    lines, unknown = _priced(fact.items, around.prices, around.names)
    why, text = _first_reason(fact, around, lines, unknown)
    if why is Why.NONE:
        return Judged(Verdict.ACCEPTED, lines=lines)
    return Judged(Verdict.REFUSED, why, () if unknown else lines, text)


def _first_reason(
    fact: OrderFact, around: Around, lines: Lines, unknown: Sequence[str]
) -> tuple[Why, str]:
    total = total_of(lines)
    is_empty = not fact.items and fact.certainty is Certainty.CERTAIN and not around.is_closed_book
    over = _over_stock(lines, around)
    strange = strange_in(fact)
    reasons = (
        (around.is_late and not is_empty, Why.LATE, "it came after the session was over"),
        (around.was_decided, Why.CONFLICT, "a person had decided on it before"),
        (fact.certainty is Certainty.UNCERTAIN, Why.UNCERTAIN, "the vendor is not certain"),
        (bool(strange), Why.ABNORMAL, f"the vendor says: {', '.join(strange)}"),
        (bool(unknown), Why.UNKNOWN_ITEM, f"not for sale there: {', '.join(unknown)}"),
        (
            total != fact.total_fen or any(each.quantity < 0 for each in fact.items),
            Why.MISMATCH,
            f"{fact.total_fen} fen, and {total} by our prices",
        ),
        (total > around.limit_fen, Why.OVER_LIMIT, f"{total} fen are over {around.limit_fen}"),
        (bool(over), Why.OVER_LIMIT, f"more than there were: {', '.join(over)}"),
    )
    return next(((why, text) for holds, why, text in reasons if holds), (Why.NONE, ""))


def _over_stock(lines: Lines, around: Around) -> list[str]:
    return [
        line.sku
        for line in lines
        if line.sku in around.stock and line.quantity > around.stock[line.sku] + around.tolerance
    ]


def _priced(
    items: Sequence[Item], prices: Mapping[str, int], ours: Mapping[str, str]
) -> tuple[Lines, list[str]]:
    """Lines at our prices, and the SKUs that have none."""
    quantities: dict[str, int] = {}
    names: dict[str, str] = {}
    for item in items:
        quantities[item.sku] = quantities.get(item.sku, 0) + item.quantity
        # A vendor may call it by a longer name than the history of sales has room for.
        names[item.sku] = (ours.get(item.sku) or item.name or item.sku)[:NAME_MAX]
    taken = {sku: quantity for sku, quantity in quantities.items() if quantity}
    unknown = sorted(set(taken) - set(prices))
    lines = tuple(
        Line(sku, names[sku], quantity, prices[sku], quantity * prices[sku])
        for sku, quantity in sorted(taken.items())
        if sku in prices
    )
    return lines, unknown


def priced(
    quantities: Mapping[str, int], prices: Mapping[str, int], names: Mapping[str, str]
) -> tuple[Lines, list[str]]:
    """As a person lists it. The SKUs without a price come second."""
    items = [Item(sku=sku, quantity=quantity) for sku, quantity in quantities.items()]
    return _priced(items, prices, names)


def total_of(lines: Sequence[Line]) -> int:
    return sum(line.amount_fen for line in lines)


def allowed(lines: Lines, allowance_fen: int) -> Lines:
    """The same lines for so much less, taken off the dearest first; never below nothing."""
    left = allowance_fen
    lowered: dict[str, int] = {}
    for line in sorted(lines, key=lambda each: (-each.amount_fen, each.sku)):
        less = min(left, max(0, line.amount_fen))
        lowered[line.sku] = line.amount_fen - less
        left -= less
    return tuple(msgspec.structs.replace(line, amount_fen=lowered[line.sku]) for line in lines)


def body_of(fact: OrderFact, judged: Judged) -> Body:
    return Body(lines=judged.lines, reason=judged.text, fact=fact)
