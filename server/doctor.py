"""`run.py doctor`: reach everything the server depends on, and say how it is."""

from accounts.model import App, AppNotConfigured, WeChatRefused, WeChatUnavailable
from accounts.wechat import MiniProgram
from server.clock import now
from server.config import Config
from server.doorbell import Doorbell
from sql.database import Database, open_database
from sql.errors import DatabaseError, DatabaseInUse
from sql.events import heads

Finding = tuple[str, bool, str]
"""What was looked at, whether it is well, and a word about it."""


async def examine(config: Config) -> list[Finding]:
    """Look at each part, one after another."""
    try:
        db = await open_database(config.database.url, now=now)
    except DatabaseInUse:
        in_use = ("database", True, "a server has it open")
        return [in_use, *await _redis(config), ("wechat", True, "left to that server")]
    except (DatabaseError, ValueError) as error:
        return [("database", False, str(error)), *await _redis(config)]
    try:
        database = await _database(db)
        findings = [database, *await _redis(config)]
        if database[1]:
            return [*findings, *await _wechat(config, db)]
        return [*findings, ("wechat", False, "cannot be asked: its tokens are in the database")]
    finally:
        await db.close()


async def _database(db: Database) -> Finding:
    try:
        await db.migrate()
        await db.read(heads, ["doctor"])
    except DatabaseError as error:
        return "database", False, f"{error.title}: {error}"
    return "database", True, f"{db.dialect}, reached and at this program's version"


async def _redis(config: Config) -> list[Finding]:
    if not config.redis.url:
        return []
    bell = Doorbell(config.redis.url, name="doctor", rung=lambda _stream, _seq: None)
    try:
        is_up = await bell.ping()
    finally:
        await bell.stop()
    return [("redis", is_up, "answers" if is_up else "gives no answer; calls arrive later")]


async def _wechat(config: Config, db: Database) -> list[Finding]:
    """A token shows that app id, secret and the address we call from are right."""
    given = config.wechat
    client = MiniProgram(
        given.api_url,
        {
            "diner": (given.diner_appid, given.diner_secret),
            "seller": (given.seller_appid, given.seller_secret),
        },
        db=db,
        now=now,
    )
    try:
        diner, seller = await _token(client, "diner"), await _token(client, "seller")
    finally:
        await client.close()
    return [("wechat diner", *diner), ("wechat seller", *seller)]


async def _token(client: MiniProgram, app: App) -> tuple[bool, str]:
    try:
        await client.access_token(app)
    except AppNotConfigured:
        return True, "off: app id or secret is not set"
    except WeChatRefused as error:
        return False, f"refused with {error.errcode}"
    except WeChatUnavailable as error:
        return False, str(error)
    return True, "gives us a token"
