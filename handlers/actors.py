"""From a session to who acts: in the queue's rules, and in the audit."""

from accounts.audit.model import By
from accounts.model import Session
from accounts.staff.permissions import ROLES
from handlers.calls import Call
from queueing.model import Actor


def signed_in(call: Call) -> Session:
    """The session of a route that asks for one."""
    assert call.session is not None, f"{call.path} is open to everyone"
    return call.session


def actor(call: Call) -> Actor:
    return actor_of(signed_in(call), address=call.address)


def by(call: Call) -> By:
    """For the audit: who asks, and from where."""
    session = signed_in(call)
    return By("staff" if session.app == "staff" else "admin", session.account_id, call.address)


def actor_of(session: Session, *, address: str = "") -> Actor:
    """The session's strongest role acts; what is a diner's own goes by the account anyway.

    Staff see what an administrator sees, but those who are kept to stores nothing of numbers;
    what they may change is judged by the route.
    """
    return Actor(_kind(session.roles), session.account_id, session.id, address)


def _kind(roles: frozenset[str]) -> str:
    if "admin" in roles or not roles.isdisjoint(ROLES):
        return "admin"
    return "seller" if "seller" in roles else "diner"
