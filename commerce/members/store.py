"""The transactions of members: what is known of them, their tickets, who is barred."""

from typing import Any

import msgspec
from sqlalchemy import select

from commerce.members.model import Member
from sql.tables.commerce import members
from sql.transaction import Tx


def find_member(tx: Tx, account_id: int, *, lock: bool = False) -> Member:
    """What is known of a person; nothing, where there is no row."""
    query = select(members).where(members.c.account_id == account_id)
    row = tx.execute(query.with_for_update() if lock else query).one_or_none()
    return Member(account_id=account_id) if row is None else _as_member(row)


def _as_member(row: Any) -> Member:
    return msgspec.convert(row._mapping, Member)
