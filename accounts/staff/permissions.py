"""What each role of the back office may do: the one table, from which routes take their roles.

A route of an administrator's that staff may use as well says
`who=ADMIN | allowed(Permission.STALLS_CHANGE)`.

A staff account may be kept to some stores. It has its role in them alone: a session of it holds
`operator:stores` instead of `operator`, which opens only what asks whose store it is. Numbers,
payments, bills, alerts, jobs and the audit are of no store, and closed to it.
"""

import enum
from collections.abc import Mapping
from typing import Final

STAFF: Final = frozenset({"staff"})
"""Whoever is signed in with a staff account, whatever the role."""

ROLES: Final = ("owner", "operator", "finance", "support", "readonly")


_STORES: Final = ":stores"


def kept(role: str) -> str:
    """What an account that is kept to some stores holds instead of its role."""
    return role + _STORES


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
    CALLBACKS_READ = "callbacks.read"
    CALLBACKS_PUT_BACK = "callbacks.put_back"
    AUDIT_READ = "audit.read"
    ACCOUNTS_MANAGE = "accounts.manage"
    STORES_READ = "stores.read"
    STORES_CHANGE = "stores.change"
    DEVICES_READ = "devices.read"
    DEVICES_CHANGE = "devices.change"
    DEVICES_OPEN = "devices.open"
    GOODS_READ = "goods.read"
    GOODS_CHANGE = "goods.change"
    CABINET_ORDERS_READ = "cabinet_orders.read"
    CABINET_ORDERS_CORRECT = "cabinet_orders.correct"
    CABINET_ORDERS_REFUND = "cabinet_orders.refund"
    CABINET_ORDERS_VIDEO = "cabinet_orders.video"
    EXCEPTIONS_READ = "exceptions.read"
    EXCEPTIONS_DECIDE = "exceptions.decide"
    EXCEPTIONS_RELEASE = "exceptions.release"
    COMPLAINTS_READ = "complaints.read"
    COMPLAINTS_DECIDE = "complaints.decide"
    MEMBERS_READ = "members.read"
    MEMBERS_PHONE = "members.phone"
    MEMBERS_TICKETS = "members.tickets"
    MEMBERS_BAR = "members.bar"
    SALES_READ = "sales.read"
    REPORTS_READ = "reports.read"


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
    Permission.CALLBACKS_READ: frozenset({"owner", "operator", "finance", "readonly"}),
    Permission.CALLBACKS_PUT_BACK: frozenset({"owner", "operator"}),
    Permission.AUDIT_READ: frozenset({"owner", "finance"}),
    Permission.ACCOUNTS_MANAGE: frozenset({"owner"}),
    Permission.STORES_READ: _EVERYONE,
    Permission.STORES_CHANGE: frozenset({"owner", "operator"}),
    Permission.DEVICES_READ: _EVERYONE,
    Permission.DEVICES_CHANGE: frozenset({"owner", "operator"}),
    Permission.DEVICES_OPEN: frozenset({"owner", "operator", "support"}),
    Permission.GOODS_READ: _EVERYONE,
    Permission.GOODS_CHANGE: frozenset({"owner", "operator"}),
    Permission.CABINET_ORDERS_READ: _EVERYONE,
    Permission.CABINET_ORDERS_CORRECT: frozenset({"owner", "finance", "support"}),
    Permission.CABINET_ORDERS_REFUND: frozenset({"owner", "finance"}),
    # People are to be seen in it: for those who decide by it.
    Permission.CABINET_ORDERS_VIDEO: frozenset({"owner", "operator", "finance", "support"}),
    Permission.EXCEPTIONS_READ: _EVERYONE,
    Permission.EXCEPTIONS_DECIDE: frozenset({"owner", "operator", "support"}),
    Permission.EXCEPTIONS_RELEASE: frozenset({"owner"}),
    Permission.COMPLAINTS_READ: _EVERYONE,
    Permission.COMPLAINTS_DECIDE: frozenset({"owner", "finance", "support"}),
    Permission.MEMBERS_READ: frozenset({"owner", "operator", "finance", "support"}),
    Permission.MEMBERS_PHONE: frozenset({"owner", "support"}),
    Permission.MEMBERS_TICKETS: frozenset({"owner", "finance"}),
    Permission.MEMBERS_BAR: frozenset({"owner", "operator", "support"}),
    Permission.SALES_READ: frozenset({"owner", "operator", "finance", "readonly"}),
    Permission.REPORTS_READ: frozenset({"owner", "operator", "finance", "readonly"}),
}


# Tickets are worth money at every store, and who is barred is barred from them all.
_OF_ALL: Final = frozenset({Permission.MEMBERS_TICKETS, Permission.MEMBERS_BAR})

# What is of a store: each of these asks for the stores of whoever asks.
_OF_STORES: Final = frozenset(
    each
    for each in Permission
    if each not in _OF_ALL and each.value.partition(".")[0]
    in {"stores", "devices", "goods", "cabinet_orders", "exceptions", "complaints", "members",
        "sales", "reports"}
)  # fmt: skip


def allowed(permission: Permission) -> frozenset[str]:
    """What of a session's roles gives it; never empty, an owner has them all."""
    roles = _ALLOWED[permission]
    return roles | set(map(kept, roles)) if permission in _OF_STORES else roles


def permissions_of(role: str, *, is_kept: bool = False) -> list[str]:
    """What a role may do, everywhere or in some stores, as a client is told it."""
    held = kept(role) if is_kept else role
    return [each.value for each in Permission if held in allowed(each)]
