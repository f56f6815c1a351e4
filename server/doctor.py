"""`run.py doctor`: reach everything the server depends on, and say how it is."""

import secrets

from accounts.model import App, AppNotConfigured, WeChatRefused, WeChatUnavailable
from accounts.wechat import MiniProgram
from commerce.erp import Erp, ErpError
from devices.vendors.port import CabinetVendor, VendorError
from payments.gateway import GatewayError
from payments.wechat.v3 import WeChatPayV3
from server.cabinets import vendors_of
from server.clock import now
from server.config import Config
from server.wechatpay import WeChatPay
from sql.database import Database, open_database
from sql.errors import DatabaseError, DatabaseInUse
from sql.events import heads

Finding = tuple[str, bool, str]
"""What was looked at, whether it is well, and a word about it."""


async def examine(config: Config) -> list[Finding]:
    """Look at each part, one after another."""
    outside = [await _wechatpay(config), await _xiaomai(config), await _erp(config)]
    return [*await _own(config), *outside]


async def _own(config: Config) -> list[Finding]:
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
    # Every command imports this module, and few have a Redis.
    from server.doorbell import Doorbell  # noqa: PLC0415

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


async def _wechatpay(config: Config) -> Finding:
    """A word goes to WeChat Pay and comes back, signed and sealed both ways; no money does."""
    try:
        pay = WeChatPay(config, now=now)
    except (OSError, ValueError) as error:
        return "wechat pay", False, str(error)
    try:
        if pay.v3 is None:
            return "wechat pay", True, "off: an APIv3 key or the merchant's key is not set"
        is_well, word = await _echo(pay.v3)
    finally:
        await pay.close()
    return "wechat pay", is_well, word


async def _echo(v3: WeChatPayV3) -> tuple[bool, str]:
    try:
        echo = await v3.echo(secrets.token_hex(8))
    except GatewayError as error:
        return False, str(error)
    if not echo.has_echoed:
        return False, "says another word than ours"
    if not echo.has_decrypted:
        return False, "does not read what we seal for it"
    return True, "takes our signature, and we read its own"


async def _xiaomai(config: Config) -> Finding:
    """It is asked, with our signature, how a cabinet is that it cannot know."""
    vendor = vendors_of(config, now).get("xiaomai")
    if vendor is None:
        return "xiaomai", True, "off: no url is set"
    try:
        is_well, word = await _knock(vendor)
    finally:
        await vendor.close()
    return "xiaomai", is_well, word


async def _knock(vendor: CabinetVendor) -> tuple[bool, str]:
    try:
        await vendor.status([f"doctor-{secrets.token_hex(4)}"])
    except VendorError as error:
        return False, str(error)
    return True, "takes our signature"


async def _erp(config: Config) -> Finding:
    if not config.erp.url:
        return "erp", True, "off: no url is set"
    erp = Erp(config.erp.url, config.erp.token)
    try:
        page = await erp.goods(limit=1)
    except ErpError as error:
        return "erp", False, str(error)
    finally:
        await erp.close()
    return "erp", True, "takes our token" + ("" if page.goods else ", and has no goods")
