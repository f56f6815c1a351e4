"""Every refusal of the rules has a status of its own; none is taken for our own mistake."""

from typing import Any

import pytest

from accounts.model import AccountsError
from handlers.errors import REFUSALS
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
# Of the outbox only: a message is made to fit before it is sent.
BEHIND_THE_EDGE = {"UnfitArgument"}


def leaves(kind: type[Exception]) -> list[type[Exception]]:
    below = [leaf for child in kind.__subclasses__() for leaf in leaves(child)]
    return below or [kind]


@pytest.mark.parametrize(
    "kind",
    [
        leaf
        for base in (QueueError, AccountsError, DatabaseError, KeyReused)
        for leaf in leaves(base)
        if leaf not in OLD_ONLY and leaf.__name__ not in BEHIND_THE_EDGE
    ],
    ids=lambda kind: kind.__name__,
)
def test_a_refusal_has_a_status(kind: type[Exception]) -> None:
    problem = REFUSALS.problem(kind("why"))

    assert problem is not None
    assert problem.status in {400, 401, 403, 404, 409, 422, 502, 503}
    assert "." in problem.code


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
