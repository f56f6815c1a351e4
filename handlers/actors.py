"""From a session to who acts in the queue's rules."""

from accounts.model import Session
from handlers.calls import Call
from queueing.model import Actor


def signed_in(call: Call) -> Session:
    """The session of a route that asks for one."""
    assert call.session is not None, f"{call.path} is open to everyone"
    return call.session


def actor(call: Call) -> Actor:
    return actor_of(signed_in(call))


def actor_of(session: Session) -> Actor:
    """The session's strongest role acts; what is a diner's own goes by the account anyway."""
    return Actor(_kind(session.roles), session.account_id, session.id)


def _kind(roles: frozenset[str]) -> str:
    if "admin" in roles:
        return "admin"
    return "seller" if "seller" in roles else "diner"
