"""A back office with cheap hashes: what is tested are the rules, not the cost."""

import argon2
import pytest

from accounts.audit.model import By
from accounts.service import Sessions
from accounts.staff.model import StaffAccount
from accounts.staff.passwords import Passwords
from accounts.staff.service import Staff
from sql.database import Database
from tests.accounts.conftest import MakeSessions

PASSWORD = "noodles at noon"
BOSS = By("staff", 0, "203.0.113.9")


class CountingHasher(argon2.PasswordHasher):
    """argon2 at its least cost, which knows how often it was asked."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified = 0

    def verify(self, *arguments: object, **named: object) -> bool:  # type: ignore[override]
        self.verified += 1
        return super().verify(*arguments, **named)  # type: ignore[arg-type]


@pytest.fixture
def hasher() -> CountingHasher:
    return CountingHasher()


class Office:
    """Staff with a memory of sessions of their own, as a process has it."""

    def __init__(self, db: Database, sessions: Sessions, hasher: CountingHasher) -> None:
        self.db = db
        self.sessions = sessions
        self.passwords = Passwords(hasher)
        self.staff = Staff(db, sessions, self.passwords)

    async def hire(
        self, login_name: str = "li", role: str = "owner", **more: object
    ) -> StaffAccount:
        blank = {"nickname": "", "mobile": "", "email": "", "sex": 0, "avatar": "", "status": 1}
        values = {**blank, "login_name": login_name, "role": role, **more}
        return await self.staff.create(values, password=PASSWORD, by=BOSS)


@pytest.fixture
async def office(db: Database, sessions: Sessions, hasher: CountingHasher) -> Office:
    return Office(db, sessions, hasher)


@pytest.fixture
async def two_offices(
    db: Database, make_sessions: MakeSessions, hasher: CountingHasher
) -> tuple[Office, Office]:
    """The same database, seen by two processes."""
    one, other = make_sessions(shared=True), make_sessions(shared=True)
    return Office(db, one, hasher), Office(db, other, hasher)


def by(account: StaffAccount) -> By:
    return By("staff", account.id, "203.0.113.9")
