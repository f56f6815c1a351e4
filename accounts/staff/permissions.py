"""What each role of the back office may do: the one table, from which routes take their roles.

A route of an administrator's that staff may use as well says
`who=ADMIN | allowed(Permission.STALLS_CHANGE)`.
"""

import enum
from collections.abc import Mapping
from typing import Final

STAFF: Final = frozenset({"staff"})
"""Whoever is signed in with a staff account, whatever the role."""

ROLES: Final = ("owner", "operator", "finance", "support", "readonly")


class Permission(enum.Enum):
    """One thing to be allowed; the value is what a client is told."""

    STALLS_READ = "stalls.read"
    STALLS_CHANGE = "stalls.change"
    MONTHS_GIVE = "months.give"
    TICKETS_READ = "tickets.read"
    STATISTICS_READ = "statistics.read"
    JOBS_READ = "jobs.read"
    PAYMENTS_READ = "payments.read"
    PAYMENTS_REFUND = "payments.refund"
    BILLS_READ = "bills.read"
    BILLS_EXPLAIN = "bills.explain"
    ALERTS_READ = "alerts.read"
    ALERTS_CLEAR = "alerts.clear"
    INCIDENTS_RAW = "incidents.raw"
    AUDIT_READ = "audit.read"
    ACCOUNTS_MANAGE = "accounts.manage"


_EVERYONE: Final = frozenset(ROLES)

_ALLOWED: Final[Mapping[Permission, frozenset[str]]] = {
    Permission.STALLS_READ: _EVERYONE,
    Permission.STALLS_CHANGE: frozenset({"owner", "operator"}),
    Permission.MONTHS_GIVE: frozenset({"owner", "operator"}),
    Permission.TICKETS_READ: _EVERYONE,
    Permission.STATISTICS_READ: _EVERYONE,
    Permission.JOBS_READ: frozenset({"owner", "operator", "readonly"}),
    Permission.PAYMENTS_READ: frozenset({"owner", "finance", "support", "readonly"}),
    Permission.PAYMENTS_REFUND: frozenset({"owner", "finance"}),
    Permission.BILLS_READ: frozenset({"owner", "finance", "support", "readonly"}),
    Permission.BILLS_EXPLAIN: frozenset({"owner", "finance"}),
    Permission.ALERTS_READ: frozenset({"owner", "operator", "finance", "readonly"}),
    Permission.ALERTS_CLEAR: frozenset({"owner", "finance"}),
    Permission.INCIDENTS_RAW: frozenset({"owner", "finance"}),
    Permission.AUDIT_READ: frozenset({"owner", "finance"}),
    Permission.ACCOUNTS_MANAGE: frozenset({"owner"}),
}


def allowed(permission: Permission) -> frozenset[str]:
    """The staff roles that have it; never empty, an owner has them all."""
    return _ALLOWED[permission]


def permissions_of(role: str) -> list[str]:
    """What a role may do, as a client is told it."""
    return [each.value for each in Permission if role in _ALLOWED[each]]
