"""The first owner of the back office, made where nobody can sign in yet."""

from accounts.service import Sessions
from accounts.staff.passwords import Passwords
from accounts.staff.service import Staff
from server.clock import now
from server.config import Config
from sql.database import open_database


async def make_owner(config: Config, login_name: str, password: str) -> bool:
    """An owner of that name, made or reset; whether it was made.

    Raises StaffError for a name or password that will not do, DatabaseError.
    """
    db = await open_database(config.database.url, now=now)
    passwords = Passwords()
    try:
        await db.migrate()
        sessions = Sessions(db, secret=config.server.secret, now=now)
        return await Staff(db, sessions, passwords).make_owner(login_name, password)
    finally:
        passwords.close()
        await db.close()
