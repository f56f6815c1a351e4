"""What staff do with their accounts: sign in, look after their own, and owners after all."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from accounts.audit.model import By
from accounts.model import Opened, Session
from accounts.service import Sessions
from accounts.staff import store, totp
from accounts.staff.model import (
    ACTIVE,
    DELETED,
    Credentials,
    Enrolment,
    PasswordWrong,
    SignInRefused,
    StaffAccount,
    TotpRequired,
    check_login_name,
    check_password,
)
from accounts.staff.passwords import Passwords
from accounts.staff.store import Change, Changed, Wanted
from sql.database import Database


class Staff:
    """Accounts of the back office. Who may call what is the routes' business."""

    def __init__(self, db: Database, sessions: Sessions, passwords: Passwords) -> None:
        self._db = db
        self._sessions = sessions
        self._passwords = passwords

    async def sign_in(
        self, login_name: str, password: str, *, code: str = "", address: str = ""
    ) -> Opened:
        """A new session. A wrong name takes as long as a wrong password.

        Raises SignInRefused, TotpRequired, TotpRefused, Overloaded.
        """
        known = await self._db.read(store.credentials, login_name)
        is_right = await self._passwords.is_right(
            password, None if known is None else known.password_hash
        )
        if known is None or not is_right or known.status != ACTIVE:
            raise SignInRefused
        if known.totp_secret and not code:
            raise TotpRequired
        admit = partial(store.admit, shown=known, code=code, address=address)
        return await self._sessions.open(known.account_id, "staff", check=admit)

    # One's own

    async def account(self, account_id: int) -> StaffAccount:
        """Raises StaffNotFound."""
        return await self._db.read(store.find, account_id)

    async def change_own(self, values: Mapping[str, Any], *, by: By) -> StaffAccount:
        return await self._change(Change(by.account_id, values, "staff.change_own", by))

    async def change_password(self, session: Session, *, old: str, new: str, by: By) -> None:
        """Ends the account's other sessions. Raises PasswordWrong, WeakPassword, Overloaded."""
        known = await self._prove(session.account_id, old)
        values = {"password_hash": await self._hash(new, known.login_name)}
        await self._change(
            Change(session.account_id, values, "staff.change_password", by, keeps=session.id)
        )

    async def begin_totp(self, *, password: str, by: By) -> Enrolment:
        """A secret for an authenticator, shown this once; asked for when it was confirmed.

        Raises PasswordWrong, TotpIsOn, Overloaded.
        """
        known = await self._prove(by.account_id, password)
        secret = totp.new_secret()
        await self._db.write(store.begin_totp, by.account_id, secret, by=by)
        return Enrolment(secret, totp.uri(secret, login_name=known.login_name))

    async def confirm_totp(self, code: str, *, by: By) -> StaffAccount:
        """Raises TotpNotBegun, TotpWrong."""
        return await self._db.write(store.confirm_totp, by.account_id, code, by=by)

    async def end_totp(self, *, password: str, by: By) -> StaffAccount:
        """Raises PasswordWrong, Overloaded."""
        await self._prove(by.account_id, password)
        values = {"totp_secret": "", "totp_pending": ""}
        return await self._change(Change(by.account_id, values, "staff.totp_off", by))

    # All, by an owner

    async def page(
        self, wanted: Wanted, *, offset: int, most: int
    ) -> tuple[int, list[StaffAccount]]:
        """How many accounts there are of those wanted, and some of them."""
        return await self._db.read(store.page, wanted, offset=offset, most=most)

    async def create(
        self, values: Mapping[str, Any], *, password: str, by: By, reason: str = ""
    ) -> StaffAccount:
        """Raises UnfitLoginName, WeakPassword, LoginNameTaken, OwnerSeesAll, StoreUnknown,
        Overloaded.
        """
        check_login_name(values["login_name"])
        row = {**values, "password_hash": await self._hash(password, values["login_name"])}
        return await self._db.write(store.create, row, by=by, reason=reason)

    async def change(
        self,
        account_id: int,
        values: Mapping[str, Any],
        *,
        password: str = "",
        by: By,
        reason: str = "",
    ) -> StaffAccount:
        """Set some columns, and another password unless it is empty.

        Raises StaffNotFound, UnfitLoginName, WeakPassword, LoginNameTaken, NotOneself, LastOwner,
        OwnerSeesAll, StoreUnknown.
        """
        columns = dict(values)
        if "login_name" in columns:
            check_login_name(columns["login_name"])
        if password:
            account = await self.account(account_id)
            name = columns.get("login_name", account.login_name)
            columns["password_hash"] = await self._hash(password, name)
        return await self._change(Change(account_id, columns, "staff.change", by, reason))

    async def delete(self, account_id: int, *, by: By, reason: str = "") -> StaffAccount:
        """The row and its history stay. Repeatable. Raises StaffNotFound, NotOneself, LastOwner."""
        deleted = {"status": DELETED}
        return await self._change(Change(account_id, deleted, "staff.delete", by, reason))

    async def restore(self, account_id: int, *, by: By, reason: str = "") -> StaffAccount:
        """Raises StaffNotFound. Repeatable."""
        restored = {"status": ACTIVE}
        return await self._change(Change(account_id, restored, "staff.restore", by, reason))

    async def reset_password(
        self, account_id: int, new: str, *, remove_totp: bool, by: By, reason: str = ""
    ) -> StaffAccount:
        """For who has forgotten it. Raises StaffNotFound, WeakPassword, Overloaded."""
        account = await self.account(account_id)
        values = {"password_hash": await self._hash(new, account.login_name)}
        if remove_totp:
            values |= {"totp_secret": "", "totp_pending": ""}
        return await self._change(Change(account_id, values, "staff.reset_password", by, reason))

    async def make_owner(self, login_name: str, password: str) -> bool:
        """An owner of that name, made or reset; whether it was made.

        From the command line, for the first owner and for the one who has lost everything.
        Raises UnfitLoginName, WeakPassword, Overloaded.
        """
        check_login_name(login_name)
        password_hash = await self._hash(password, login_name)
        by = By("system")
        made, changed = await self._db.write(store.make_owner, login_name, password_hash, by=by)
        await self._sessions.review(changed.ended)
        return made

    # Helpers

    async def _hash(self, password: str, login_name: str) -> str:
        check_password(password, login_name=login_name)
        return await self._passwords.hash(password)

    async def _prove(self, account_id: int, password: str) -> Credentials:
        known = await self._db.read(store.credentials_of, account_id)
        if not await self._passwords.is_right(password, known.password_hash):
            raise PasswordWrong
        return known

    async def _change(self, wanted: Change) -> StaffAccount:
        try:
            changed: Changed = await self._db.write(store.change, wanted)
        finally:
            # Also when the answer to the commit was lost: it may have been done.
            await self._sessions.forget(wanted.account_id)
        # The sockets of those sessions, too; other processes ask the database at each request.
        await self._sessions.review(changed.ended)
        return changed.account
