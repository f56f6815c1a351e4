"""How a chain of orders shares what is due, and what follows for its money. Pure arithmetic.

What is paid stays as it is when it becomes dearer: the difference is a supplement. When it
becomes cheaper, the last in the chain gives way first. Charges are never made by an event, but
by what is due, less what is captured or on its way, plus what has gone back.
"""

from collections.abc import Mapping, Sequence

import msgspec

from devices.orders.model import (
    Charge,
    ChargeKind,
    ChargeState,
    Line,
    Lines,
    Means,
    Order,
    OrderState,
)
from devices.orders.verdict import total_of


class Part(msgspec.Struct, frozen=True):
    """One order of a chain. is_open: it is not paid for good, so that it may become dearer."""

    due_fen: int
    lines: Lines
    is_open: bool = False


def share(target: Lines, chain: Sequence[Part]) -> list[Part]:
    """What each order of the chain comes to; one more at the end when the rest is a supplement.

    chain: the first order, then its supplements. The dues add up to the target's total, each
    order's lines to its due, and all lines to the target.
    """
    total = total_of(target)
    dues = [part.due_fen for part in chain]
    rest = total - sum(dues)
    if rest > 0 and chain[-1].is_open:
        dues[-1] += rest
    elif rest > 0:
        dues.append(rest)
    excess = max(0, -rest)
    for at in reversed(range(len(dues))):
        less = min(dues[at], excess)
        dues[at] -= less
        excess -= less
    last = max((at for at, due in enumerate(dues) if due), default=0)
    before = add(*(part.lines for part in chain[:last]))
    lines = [part.lines for part in chain[:last]] + [subtract(target, before)]
    lines += [()] * (len(dues) - len(lines))
    return [Part(due, each) for due, each in zip(dues, lines, strict=True)]


def add(*many: Lines) -> Lines:
    """All lines, one for each SKU, without those that come to nothing."""
    found: dict[str, Line] = {}
    for line in (line for lines in many for line in lines):
        known = found.get(line.sku)
        found[line.sku] = (
            line
            if known is None
            else Line(
                line.sku,
                known.name,
                known.quantity + line.quantity,
                known.price_fen,
                known.amount_fen + line.amount_fen,
            )
        )
    return tuple(line for _, line in sorted(found.items()) if line.quantity or line.amount_fen)


def subtract(lines: Lines, others: Lines) -> Lines:
    return add(lines, negative(others))


def negative(lines: Lines) -> Lines:
    return tuple(
        msgspec.structs.replace(line, quantity=-line.quantity, amount_fen=-line.amount_fen)
        for line in lines
    )


def quantities(lines: Sequence[Line]) -> dict[str, int]:
    return {line.sku: line.quantity for line in lines if line.quantity}


# ---------------------------------------------------------------- one order's money


class Tally(msgspec.Struct, frozen=True):
    """What an order's charges come to. kept_fen: refunds that a person has stopped.

    back_fen: refunds that are done or on their way. pending: captures on their way, by means:
    Payscore and a payment by hand are two ways to pay the same, not two payments.
    """

    captured_fen: int = 0
    back_fen: int = 0
    kept_fen: int = 0
    pending: Mapping[Means, int] = {}

    @property
    def in_flight_fen(self) -> int:
        return max(self.pending.values(), default=0)

    @property
    def net_fen(self) -> int:
        return self.captured_fen - self.back_fen


class Plan(msgspec.Struct, frozen=True):
    """What follows. needed_fen: what is still to come in, by whichever way.

    charge_fen: of that, what nothing is on its way for. refund_fen: what is to go back.
    too_much: ways that bring more than is needed, when they do.
    """

    needed_fen: int
    charge_fen: int
    refund_fen: int
    too_much: frozenset[Means]


def tally(charges: Sequence[Charge]) -> Tally:
    def fen(kind: ChargeKind, *states: ChargeState) -> int:
        return sum(
            each.amount_fen for each in charges if each.kind is kind and each.state in states
        )

    return Tally(
        captured_fen=fen(ChargeKind.CAPTURE, ChargeState.DONE),
        back_fen=fen(ChargeKind.REFUND, ChargeState.DONE, ChargeState.PENDING),
        kept_fen=fen(ChargeKind.REFUND, ChargeState.FAILED),
        pending={
            each.means: each.amount_fen
            for each in charges
            if each.kind is ChargeKind.CAPTURE and each.state is ChargeState.PENDING
        },
    )


def plan(due_fen: int, money: Tally, *, is_waived: bool = False) -> Plan:
    """delta = due − captured or in flight + back.

    In flight counts as captured for charging, and as not captured for refunding. What a person
    has kept from going back is held against neither.
    """
    needed = 0 if is_waived else max(0, due_fen - money.net_fen)
    return Plan(
        needed_fen=needed,
        charge_fen=max(0, needed - money.in_flight_fen),
        refund_fen=max(0, money.net_fen - money.kept_fen - due_fen),
        too_much=frozenset(means for means, fen in money.pending.items() if fen > needed),
    )


def state_after(due_fen: int, money: Tally, *, is_waived: bool) -> OrderState:
    """Of an order whose due is known."""
    needed = max(0, due_fen - money.net_fen)
    if not needed:
        return OrderState.PAID if money.captured_fen else OrderState.EMPTY
    if is_waived:
        return OrderState.WAIVED
    return OrderState.CHARGING if Means.SCORE in money.pending else OrderState.UNPAID


def may_rise(order: Order, charges: Sequence[Charge]) -> bool:
    """Whether its due may rise: it is not paid, nothing is on its way, nobody has waived it."""
    money = tally(charges)
    if money.in_flight_fen or order.state is OrderState.WAIVED:
        return False
    return not money.captured_fen or money.net_fen < order.due_fen


# ---------------------------------------------------------------- what was sold


def sold(lines: Lines, net_fen: int, booked: Lines) -> Lines:
    """The lines as they are sold for what has come in: all of the goods, as much of their price.

    booked: what was, for an order of which nothing is left but money that is still to go back.
    """
    base = lines or booked
    rest = net_fen - total_of(base)
    amounts = [line.amount_fen for line in base]
    for at in reversed(range(len(amounts))):
        if rest < 0 < amounts[at]:
            taken = min(amounts[at], -rest)
            amounts[at] -= taken
            rest += taken
    if rest and amounts:
        amounts[0] += rest
    return tuple(
        msgspec.structs.replace(line, amount_fen=amount)
        for line, amount in zip(base, amounts, strict=True)
    )
