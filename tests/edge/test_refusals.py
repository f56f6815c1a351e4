"""Every refusal of the rules has a status of its own; none is taken for our own mistake."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from accounts.model import AccountsError
from commerce.goods.model import GoodsError
from commerce.members.model import MemberError
from commerce.sales.model import SalesError
from devices.flow.model import LastSettling, UnpaidOrder
from devices.model import CabinetError
from handlers.errors import REFUSALS
from payments.gateway import Reaction
from payments.model import PaymentError, PaymentPending, PaymentRefused
from payments.scores.model import ScoreRefused
from queueing.model import QueueError
from queueing.stalls import model as stalls
from sql.errors import DatabaseError
from sql.idempotency import KeyReused
from tests.edge.web import Web
from tests.edge.world import World

# Only the old dialect can meet these, and it has words of its own for each.
OLD_ONLY = {
    stalls.ClaimRefused,
    stalls.HasStall,
    stalls.BadPicture,
    stalls.PictureTooLarge,
}
# Of the outbox, where a message is made to fit before it is sent; of the command line.
BEHIND_THE_EDGE = {"UnfitArgument", "NotABackup"}


# As much of one as a refusal speaks of.
AN_ORDER: Any = SimpleNamespace(id=1, no="CO1", due_fen=2, net_fen=1)

# Those that are made of more than a text.
ARGUMENTS: dict[type[Exception], Callable[[], Exception]] = {
    PaymentPending: lambda: PaymentPending("a number", 0),
    PaymentRefused: lambda: PaymentRefused("NO_AUTH", Reaction.STOP),
    ScoreRefused: lambda: ScoreRefused("NO_AUTH", Reaction.STOP),
    UnpaidOrder: lambda: UnpaidOrder(AN_ORDER),
    LastSettling: lambda: LastSettling(5.0),
}

FAMILIES = (QueueError, AccountsError, PaymentError, CabinetError, GoodsError, SalesError,
            MemberError, DatabaseError, KeyReused)  # fmt: skip


def leaves(kind: type[Exception]) -> list[type[Exception]]:
    below = [leaf for child in kind.__subclasses__() for leaf in leaves(child)]
    return below or [kind]


@pytest.mark.parametrize(
    "kind",
    [
        leaf
        for base in FAMILIES
        for leaf in leaves(base)
        if leaf not in OLD_ONLY and leaf.__name__ not in BEHIND_THE_EDGE
    ],
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_a_refusal_has_a_status(kind: type[Exception]) -> None:
    problem = REFUSALS.problem(ARGUMENTS.get(kind, lambda: kind("why"))())

    assert problem is not None
    assert problem.status in {400, 401, 403, 404, 409, 422, 502, 503}
    assert "." in problem.code


def test_every_code_is_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")
    codes = {str(getattr(kind, "code", "")) for kind in REFUSALS.kinds} - {""}

    assert len(codes) > 100
    assert {code for code in codes if f"`{code}`" not in page} == set()


async def test_a_phone_that_another_stall_has_is_refused(world: World, web: Web) -> None:
    taken = {"name": "a second one", "phone": world.phone_of("seller")}
    admin = world.people["admin"].token

    made = await web.ask("POST", "/api/v1/admin/stalls", taken, token=admin)
    changed = await web.ask("PATCH", f"/api/v1/admin/stalls/{world.stall_b}", taken, token=admin)

    assert (made.status, made.json["code"]) == (409, "stall.phone_taken")
    assert (changed.status, changed.json["code"]) == (409, "stall.phone_taken")


@pytest.mark.parametrize("verb", ["call", "cancel"])
async def test_a_key_is_good_for_one_wish_only(world: World, web: Web, verb: str) -> None:
    seller, key = world.people["seller"].token, [("Idempotency-Key", "k-1")]
    first = await world.ticket(world.stall_a, "diner", "noted")
    second = await world.ticket(world.stall_a, "other", "noted")

    async def act(ticket_id: int) -> Any:
        return await web.ask(
            "POST", f"/api/v1/tickets/{ticket_id}/{verb}", headers=key, token=seller
        )

    done, again, other = await act(first.id), await act(first.id), await act(second.id)

    assert (done.status, again.status) == (200, 200)
    assert again.json == done.json
    assert (other.status, other.json["code"]) == (422, "idempotency.key_reused")


async def test_a_renewal_with_the_key_of_another_is_refused(world: World, web: Web) -> None:
    admin, key = world.people["admin"].token, [("Idempotency-Key", "r-1")]
    at = f"/api/v1/admin/stalls/{world.stall_a}/renewals"

    first = await web.ask("POST", at, {"months": 1, "reason": "cash"}, key, token=admin)
    second = await web.ask("POST", at, {"months": 1, "reason": "cash"}, key, token=admin)
    third = await web.ask("POST", at, {"months": 2, "reason": "cash"}, key, token=admin)

    assert (first.status, second.status, third.status) == (201, 201, 422)
    assert second.json == first.json == {"stall_id": world.stall_a, "balance_months": 7}


@pytest.mark.parametrize("at", ["/api/v1/stalls/{}/renewals", "/api/v1/admin/payments/{}/refunds"])
async def test_money_is_not_moved_without_a_key(world: World, web: Web, at: str) -> None:
    is_renewal = at.endswith("/renewals")
    about = world.stall_a if is_renewal else await world.money.payment(1)
    body = {"months": 1, "amount_fen": 1, "reason": "no noodles"}
    token = world.people["seller" if is_renewal else "finance"].token
    before = await world.rows()

    answer = await web.ask("POST", at.format(about), body, token=token)

    assert (answer.status, answer.json["code"]) == (400, "idempotency_key.missing")
    assert await world.rows() == before


async def test_the_same_key_is_the_same_order(world: World, web: Web) -> None:
    seller, key = world.people["seller"].token, [("Idempotency-Key", "o-1")]
    at, body = f"/api/v1/stalls/{world.stall_a}/renewals", {"months": 2, "trade_type": "NATIVE"}

    first = await web.ask("POST", at, body, key, token=seller)
    second = await web.ask("POST", at, body, key, token=seller)
    third = await web.ask("POST", at, {**body, "months": 3}, key, token=seller)

    assert (first.status, second.status, third.status) == (201, 201, 422)
    assert second.json == first.json
    assert third.json["code"] == "idempotency.key_reused"


async def test_whoever_asked_for_a_refund_does_not_approve_it(world: World, web: Web) -> None:
    finance = world.people["finance"]
    number = await world.money.refund(world.people["seller"].account_id, finance.account_id)

    answer = await web.ask(
        "POST", f"/api/v1/admin/refunds/{number}/approve", {"reason": "me"}, token=finance.token
    )

    assert (answer.status, answer.json["code"]) == (403, "refunds.same_person")
