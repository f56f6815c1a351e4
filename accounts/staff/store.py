"""Transactions on staff accounts. Each change takes the audit's lock first and leaves a line."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Select, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from accounts import store as accounts_store
from accounts.audit import store as audit
from accounts.audit.model import By
from accounts.staff import totp
from accounts.staff.model import (
    ACTIVE,
    Credentials,
    LastOwner,
    LoginNameTaken,
    NotOneself,
    OwnerSeesAll,
    SignInRefused,
    StaffAccount,
    StaffNotFound,
    StoreUnknown,
    TotpIsOn,
    TotpNotBegun,
    TotpRefused,
    TotpWrong,
    folded,
)
from sql.database import Tx
from sql.tables.accounts import accounts
from sql.tables.devices import staff_stores, stores
from sql.tables.staff import staff

_SECRETS: Final = frozenset({"password_hash", "totp_secret", "totp_pending", "totp_step"})
_HIDDEN: Final = "****"


class Change(msgspec.Struct, frozen=True):
    """What is to become of an account. values: columns; keeps: the session that goes on."""

    account_id: int
    values: Mapping[str, Any]
    action: str
    by: By
    reason: str = ""
    keeps: int = 0


class Changed(msgspec.Struct, frozen=True):
    """ended: the ids of the sessions that were over with it."""

    account: StaffAccount
    ended: list[int]


class Wanted(msgspec.Struct, frozen=True):
    """Which accounts a list shows, and in which order; None and "" leave all in."""

    status: int | None = None
    role: str = ""
    keyword: str = ""
    sort: str = "id"


# Reading


def find(tx: Tx, account_id: int) -> StaffAccount:
    """Raises StaffNotFound."""
    found = _found(tx, tx.execute(_accounts().where(staff.c.account_id == account_id)).all())
    if not found:
        raise StaffNotFound
    return found[0]


def page(tx: Tx, wanted: Wanted, *, offset: int, most: int) -> tuple[int, list[StaffAccount]]:
    """How many accounts there are of those wanted, and some of them."""
    where = list(_conditions(wanted))
    total = tx.execute(select(func.count()).select_from(staff).where(*where)).scalar_one()
    ordered = _accounts().where(*where).order_by(*_order(wanted.sort))
    return total, _found(tx, tx.execute(ordered.offset(offset).limit(most)).all())


def _conditions(wanted: Wanted) -> list[Any]:
    conditions: list[Any] = []
    if wanted.status is not None:
        conditions.append(staff.c.status == wanted.status)
    if wanted.role:
        conditions.append(staff.c.role == wanted.role)
    if wanted.keyword:
        # SQLite compares texts whatever the case, MariaDB's binary order does not.
        fields = (staff.c.login_name, staff.c.mobile, staff.c.nickname)
        word = wanted.keyword.lower()
        conditions.append(
            or_(*(func.lower(each).contains(word, autoescape=True) for each in fields))
        )
    return conditions


def _order(sort: str) -> tuple[Any, ...]:
    """By a field, and among equals by the id, so that no page shows what another has shown."""
    column = {"id": staff.c.account_id, "login_name": staff.c.login_key}.get(sort.removeprefix("-"))
    if column is None:
        column = staff.c[sort.removeprefix("-")]
    return (column.desc() if sort.startswith("-") else column, staff.c.account_id)


def credentials(tx: Tx, login_name: str) -> Credentials | None:
    """What the one of that name, in whatever case, signs in with."""
    return _credentials(tx, staff.c.login_key == folded(login_name))


def credentials_of(tx: Tx, account_id: int) -> Credentials:
    """Raises StaffNotFound."""
    found = _credentials(tx, staff.c.account_id == account_id)
    if found is None:
        raise StaffNotFound
    return found


def _credentials(tx: Tx, which: Any) -> Credentials | None:
    columns = [staff.c[name] for name in Credentials.__struct_fields__]
    row = tx.execute(select(*columns).where(which)).one_or_none()
    return None if row is None else msgspec.convert(row._mapping, Credentials)


# Signing in


def admit(tx: Tx, shown: Credentials, *, code: str, address: str) -> None:
    """Let in who has shown these credentials, if they still hold, and use the code up.

    Between looking and now the password may have been changed or the account deleted: whoever
    did it has ended the sessions there were, and this one must not come after.
    Raises SignInRefused, TotpRefused.
    """
    audit.lock(tx)
    now = credentials_of(tx, shown.account_id)
    if (now.password_hash, now.status, now.totp_secret) != (
        shown.password_hash,
        ACTIVE,
        shown.totp_secret,
    ):
        raise SignInRefused
    if now.totp_secret:
        _use_code(tx, now, now.totp_secret, code)
    by = By("staff", shown.account_id, address)
    audit.record(tx, actor=by, action="session.open", subject=_subject(shown.account_id),
                 before={}, after={})  # fmt: skip


def _use_code(tx: Tx, now: Credentials, secret: str, code: str) -> None:
    """See that it is a code of now, and that it is not used again. Raises TotpRefused."""
    step = totp.step_of(secret, code, now=tx.now, after=now.totp_step)
    if step is None:
        raise TotpRefused
    mine = update(staff).where(staff.c.account_id == now.account_id)
    tx.execute(mine.values(totp_step=step))


# Changing


def create(
    tx: Tx, values: Mapping[str, Any], *, by: By, reason: str = "", action: str = "staff.create"
) -> StaffAccount:
    """Make an account; values: the columns of `staff` but the id and times, and store_ids.

    Raises LoginNameTaken, OwnerSeesAll, StoreUnknown.
    It is an account like any other, so that sessions and rows that name a person need not know
    the difference; the openid is a text that WeChat gives nobody.
    """
    audit.lock(tx)
    person = {"app": "staff", "openid": f"staff:{secrets.token_hex(16)}", "created_at": tx.now}
    key = tx.execute(insert(accounts), person).inserted_primary_key
    assert key is not None
    store_ids = tuple(sorted(set(values.get("store_ids", ()))))
    _check_scope(tx, values["role"], store_ids)
    row = {
        **_columns(values),
        "account_id": key[0],
        "login_key": folded(values["login_name"]),
        "totp_secret": "",
        "totp_pending": "",
        "totp_step": 0,
        "created_at": tx.now,
        "updated_at": tx.now,
    }
    try:
        tx.execute(insert(staff), row)
    except IntegrityError as error:
        raise LoginNameTaken from error
    _keep_to(tx, key[0], store_ids)
    if values["status"] != ACTIVE:
        accounts_store.block_account(tx, key[0])
    made = find(tx, key[0])
    audit.record(tx, actor=by, action=action, subject=_subject(made.id), before={},
                 after=_shown({**values, "id": made.id}), reason=reason)  # fmt: skip
    return made


def change(tx: Tx, wanted: Change) -> Changed:
    """Set columns of an account. Nothing is written when all of them are so already.

    Ends its sessions when it was deleted, has another role, other stores or another password.
    Raises StaffNotFound, LoginNameTaken, NotOneself, LastOwner, OwnerSeesAll, StoreUnknown.
    """
    audit.lock(tx)
    before = find(tx, wanted.account_id)
    given = dict(wanted.values)
    if "store_ids" in given:
        given["store_ids"] = tuple(sorted(set(given["store_ids"])))
    values = {n: v for n, v in given.items() if getattr(before, n, None) != v}
    if not values:
        return Changed(before, [])
    _check_power(tx, before, values, wanted.by)
    store_ids = values.get("store_ids", before.store_ids)
    _check_scope(tx, values.get("role", before.role), store_ids)
    try:
        _set(tx, before.id, _with_key(_columns(values)))
    except IntegrityError as error:
        raise LoginNameTaken from error
    if "store_ids" in values:
        _keep_to(tx, before.id, store_ids)
    audit.record(tx, actor=wanted.by, action=wanted.action, subject=_subject(before.id),
                 before=_shown({name: getattr(before, name, _HIDDEN) for name in values}),
                 after=_shown(values), reason=wanted.reason)  # fmt: skip
    return Changed(find(tx, before.id), _end_what_is_over(tx, before.id, values, wanted.keeps))


def _with_key(values: Mapping[str, Any]) -> dict[str, Any]:
    if "login_name" not in values:
        return dict(values)
    return {**values, "login_key": folded(values["login_name"])}


def _check_power(tx: Tx, before: StaffAccount, values: Mapping[str, Any], by: By) -> None:
    """Raises NotOneself, LastOwner. Under the audit's lock, so two owners cannot both go."""
    changes_power = not values.keys().isdisjoint({"role", "status"})
    if changes_power and by.account_id == before.id:
        raise NotOneself
    if changes_power and before.is_active_owner and not _other_owners(tx, before.id):
        raise LastOwner


def _other_owners(tx: Tx, account_id: int) -> int:
    owners = select(func.count()).where(staff.c.role == "owner", staff.c.status == ACTIVE)
    count: int = tx.execute(owners.where(staff.c.account_id != account_id)).scalar_one()
    return count


def _check_scope(tx: Tx, role: str, store_ids: Sequence[int]) -> None:
    """Raises OwnerSeesAll, StoreUnknown."""
    if not store_ids:
        return
    if role == "owner":
        raise OwnerSeesAll
    known = set(tx.execute(select(stores.c.id).where(stores.c.id.in_(store_ids))).scalars())
    if len(known) < len(store_ids):
        raise StoreUnknown


def _keep_to(tx: Tx, account_id: int, store_ids: Iterable[int]) -> None:
    tx.execute(delete(staff_stores).where(staff_stores.c.account_id == account_id))
    rows = [{"account_id": account_id, "store_id": store_id} for store_id in store_ids]
    if rows:
        tx.execute(insert(staff_stores), rows)


def _end_what_is_over(tx: Tx, account_id: int, values: Mapping[str, Any], keeps: int) -> list[int]:
    if values.get("status", ACTIVE) != ACTIVE:
        return accounts_store.block_account(tx, account_id)
    if "status" in values:
        accounts_store.unblock_account(tx, account_id)
    if values.keys().isdisjoint({"role", "password_hash", "store_ids"}):
        return []
    return accounts_store.end_sessions_of(tx, account_id, but=keeps)


def make_owner(tx: Tx, login_name: str, password_hash: str, *, by: By) -> tuple[bool, Changed]:
    """An owner of that name with that password and no second factor; whether it is a new one."""
    audit.lock(tx)
    known = credentials(tx, login_name)
    power = {
        "role": "owner",
        "status": ACTIVE,
        "password_hash": password_hash,
        "store_ids": (),
    }
    if known is None:
        blank = {"nickname": "", "mobile": "", "email": "", "sex": 0, "avatar": ""}
        values = {"login_name": login_name, **blank, **power}
        return True, Changed(create(tx, values, by=by), [])
    values = {**power, "totp_secret": "", "totp_pending": ""}
    return False, change(tx, Change(known.account_id, values, "staff.make_owner", by))


# The second factor


def begin_totp(tx: Tx, account_id: int, secret: str, *, by: By) -> None:
    """Keep a secret that has yet to be proved. Raises StaffNotFound, TotpIsOn."""
    audit.lock(tx)
    if credentials_of(tx, account_id).totp_secret:
        raise TotpIsOn
    change(tx, Change(account_id, {"totp_pending": secret}, "staff.totp_begin", by))


def confirm_totp(tx: Tx, account_id: int, code: str, *, by: By) -> StaffAccount:
    """Ask for it from now on. Raises StaffNotFound, TotpNotBegun, TotpWrong."""
    audit.lock(tx)
    now = credentials_of(tx, account_id)
    if not now.totp_pending:
        raise TotpNotBegun
    try:
        _use_code(tx, now, now.totp_pending, code)
    except TotpRefused as error:
        raise TotpWrong from error
    values = {"totp_secret": now.totp_pending, "totp_pending": ""}
    return change(tx, Change(account_id, values, "staff.totp_on", by)).account


# Helpers


def _set(tx: Tx, account_id: int, values: Mapping[str, Any]) -> None:
    mine = update(staff).where(staff.c.account_id == account_id)
    tx.execute(mine.values({**values, "updated_at": tx.now}))


def _accounts() -> Select[Any]:
    own = set(StaffAccount.__struct_fields__) - {"id", "has_totp", "store_ids"}
    return select(
        staff.c.account_id.label("id"),
        (staff.c.totp_secret != "").label("has_totp"),
        *(staff.c[name] for name in sorted(own)),
    )


def _found(tx: Tx, rows: Sequence[Any]) -> list[StaffAccount]:
    """The accounts of these rows, each with its stores."""
    kept: dict[int, list[int]] = {row.id: [] for row in rows}
    if kept:
        mine = select(staff_stores).where(staff_stores.c.account_id.in_(kept))
        for row in tx.execute(mine.order_by(staff_stores.c.store_id)):
            kept[row.account_id].append(row.store_id)
    # Not strict: what is true is the number 1 to both databases.
    found = [msgspec.convert(row._mapping, StaffAccount, strict=False) for row in rows]
    return [msgspec.structs.replace(each, store_ids=tuple(kept[each.id])) for each in found]


def _columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are columns of `staff`: the stores are rows of their own."""
    return {name: value for name, value in values.items() if name != "store_ids"}


def _shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what nobody may read, not even here: that it changed is told."""
    return {name: _HIDDEN if name in _SECRETS else value for name, value in values.items()}


def _subject(account_id: int) -> str:
    return f"staff:{account_id}"
