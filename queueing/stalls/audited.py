"""What administrators do with stalls, each act with its line in the audit.

The stall's lock is taken first and the audit's last, so that writers of the audit never wait
for a stall.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accounts.audit.model import By
from accounts.audit.store import record
from queueing.model import Actor, Stall
from queueing.stalls import store
from queueing.stalls.model import Renewed
from queueing.store import load_stalls
from sql.database import Tx

# Whoever knows it may sign up as the stall's seller: that it was set is told, and no more.
_SECRETS = frozenset({"claim_code"})


def create(tx: Tx, values: Mapping[str, Any], *, months: int, reason: str, by: Actor) -> Stall:
    """As store.create_stall. Raises PhoneTaken."""
    made = store.create_stall(tx, values, months=months, reason=reason, by=by.account_id)
    after = {**_shown(values, values), "balance_months": made.balance_months}
    _record(tx, by, "stall.create", made.id, {}, after)
    return made


def change(tx: Tx, stall_id: int, values: Mapping[str, Any], *, by: Actor) -> Stall:
    """As store.change_stall. Raises StallNotFound, PhoneTaken."""
    store.lock(tx, stall_id)
    before = _fields(load_stalls(tx, [stall_id])[stall_id])
    changed = store.change_stall(tx, stall_id, values)
    _record(tx, by, "stall.change", stall_id, _shown(before, values), _shown(values, values))
    return changed


def release_sellers(tx: Tx, stall_id: int, *, by: Actor) -> Stall:
    """As store.release_sellers. Raises StallNotFound."""
    store.lock(tx, stall_id)
    sellers = sorted(load_stalls(tx, [stall_id])[stall_id].sellers)
    released = store.release_sellers(tx, stall_id)
    _record(tx, by, "stall.release_sellers", stall_id, {"sellers": sellers}, {"sellers": []})
    return released


def renew(tx: Tx, stall_id: int, *, months: int, reason: str, by: Actor) -> Renewed:
    """As store.renew. Raises StallNotFound."""
    renewed = store.renew(tx, stall_id, months=months, reason=reason, by=by.account_id)
    _record_renewal(tx, renewed, by, reason)
    return renewed


def renew_by_phone(
    tx: Tx, *, phone: str, months: int, by: Actor, reason: str, new: Mapping[str, Any]
) -> Renewed:
    """As store.renew_by_phone; the repeat that adds nothing leaves no line."""
    renewed = store.renew_by_phone(
        tx, phone=phone, months=months, by=by.account_id, reason=reason, new=new
    )
    if renewed.created:
        after = {"phone": phone, "balance_months": renewed.balance_months}
        _record(tx, by, "stall.create", renewed.stall_id, {}, after, reason)
    elif renewed.added:
        _record_renewal(tx, renewed, by, reason)
    return renewed


def _record_renewal(tx: Tx, renewed: Renewed, by: Actor, reason: str) -> None:
    after = renewed.balance_months
    before = {"balance_months": after - renewed.added}
    stall_id = renewed.stall_id
    _record(tx, by, "stall.renew", stall_id, before, {"balance_months": after}, reason)


def _record(
    tx: Tx,
    by: Actor,
    action: str,
    stall_id: int,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    reason: str = "",
) -> None:
    who = By(by.kind, by.account_id, by.address)
    subject = f"stall:{stall_id}"
    record(tx, actor=who, action=action, subject=subject, before=before, after=after, reason=reason)


def _fields(stall: Stall) -> dict[str, Any]:
    return {name: getattr(stall, name) for name in stall.__struct_fields__}


def _shown(source: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the source that have one of the names, without what is secret."""
    return {name: "****" if name in _SECRETS else source[name] for name in names}
