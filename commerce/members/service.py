"""What is done with members: their own data, tickets by hand, barring; staff look and search."""

from __future__ import annotations

import msgspec

from accounts.audit.model import By
from commerce.members import store
from commerce.members.model import Grant, Member, PhoneInvalid, Seen
from commerce.members.phones import Phones, tail
from commerce.members.store import GrantAsk, Kept, Wanted
from payments.ledger.model import StatementLine
from sql.database import Database


class Members:
    def __init__(self, db: Database, phones: Phones) -> None:
        self._db = db
        self._phones = phones

    # Their own

    async def own(self, account_id: int) -> tuple[Member, str, int]:
        """Of oneself: what is known, the whole number, and the tickets. Raises PhoneUnreadable."""
        member = await self._db.read(store.find_member, account_id)
        tickets = await self._db.read(store.balance_of, account_id)
        return member, self._phones.open(member.phone_box), tickets

    async def change_own(self, account_id: int, *, username: str | None, phone: str | None) -> None:
        """None stays as it is, "" takes away. Raises PhoneInvalid."""
        kept = None
        if phone is not None:
            sealed, digest = self._phones.seal(phone), self._phones.digest(phone)
            kept = Kept(sealed, digest, tail(phone))
        await self._db.write(store.change_own, account_id, username=username, phone=kept)

    # Seen by staff

    async def page(
        self, wanted: Wanted, *, phone: str = "", by: By, offset: int, most: int
    ) -> tuple[int, list[Seen]]:
        """phone: only those with this number; "" for any. Raises PhoneInvalid."""
        if phone:
            digest = self._phones.digest(phone)
            if not digest:
                raise PhoneInvalid
            wanted = msgspec.structs.replace(wanted, phone_hash=digest)
        return await self._db.read(store.members_page, wanted, by=by, offset=offset, most=most)

    async def search(self, phone: str, *, by: By) -> list[Seen]:
        """Those with this number, at most a hundred. Raises PhoneInvalid."""
        digest = self._phones.digest(phone)
        wanted = Wanted(phone_hash=digest)
        if not digest:
            return []
        _, found = await self._db.read(store.members_page, wanted, by=by, offset=0, most=100)
        return found

    async def member(self, account_id: int, *, by: By) -> Seen:
        """Raises MemberNotFound."""
        return await self._db.read(store.seen_member, account_id, by)

    async def phone(self, account_id: int, *, by: By, reason: str) -> str:
        """The whole number; each look leaves a line in the audit.

        Raises MemberNotFound, PhoneMissing, PhoneUnreadable, ReasonMissing.
        """
        box = await self._db.write(store.view_phone, account_id, by=by, reason=reason)
        return self._phones.open(box)

    async def ticket_lines(
        self, account_id: int, *, by: By, most: int, before: int | None = None
    ) -> list[StatementLine]:
        """Raises MemberNotFound."""
        return await self._db.read(store.ticket_lines, account_id, by=by, most=most, before=before)

    async def grants(self, account_id: int, *, by: By, most: int = 100) -> list[Grant]:
        """Raises MemberNotFound."""
        return await self._db.read(store.grants_of, account_id, by=by, most=most)

    # Changed by staff

    async def grant(self, ask: GrantAsk) -> Grant:
        """See store.grant."""
        return await self._db.write(store.grant, ask)

    async def bar(self, account_id: int, *, is_barred: bool, by: By, reason: str) -> Seen:
        """Raises MemberNotFound, MembersOfAll, ReasonMissing."""
        return await self._db.write(
            store.set_barred, account_id, is_barred=is_barred, by=by, reason=reason
        )
