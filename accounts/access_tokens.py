"""Access tokens of the mini-programs: one an app id, whoever asks, in whatever process.

Two processes that each fetch a token by force end each other's. So a token is looked up
in memory, then in the database, and only then asked of WeChat, by one caller at a time.
Source: WeChat, getStableAccessToken; easywechat#696, #1453 tell what happens otherwise.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from accounts import store
from accounts.model import WeChatUnavailable
from accounts.store import AccessToken
from sql.database import Database
from sql.errors import DatabaseError
from sql.types import Millis

# Until its last five minutes WeChat hands out the same token; from then on a new one,
# while the old is good for the rest of its time.
RENEW_BEFORE_MS: Final = 300_000

Fetch = Callable[[str, bool], Awaitable[AccessToken]]
_Flight = tuple[str, str, bool]


class AccessTokens:
    """fetch(appid, force) asks WeChat; it raises WeChatUnavailable."""

    def __init__(self, fetch: Fetch, *, db: Database, now: Callable[[], Millis]) -> None:
        self._fetch = fetch
        self._db = db
        self._now = now
        self._held: dict[str, AccessToken] = {}
        self._flights: dict[_Flight, asyncio.Task[str]] = {}

    async def get(self, appid: str) -> str:
        """A token with more than five minutes to live, or the best there is.

        Raises WeChatUnavailable, DatabaseUnavailable.
        """
        held = self._held.get(appid)
        if held is not None and self._is_fresh(held):
            return held.token
        try:
            return await self._share(appid, rejected="", force=False)
        except (WeChatUnavailable, DatabaseError):
            if held is not None and held.expires_at > self._now():
                return held.token
            raise

    async def renew(self, appid: str, *, rejected: str, force: bool) -> str:
        """A token for one who was told that `rejected` is not valid.

        Without force it may be the same one again; with force it is new, and all others
        end. WeChat allows that every 30 s and twenty times a day, over all processes.
        """
        held = self._held.get(appid)
        if held is not None and held.token != rejected:
            return held.token
        return await self._share(appid, rejected=rejected, force=force)

    async def close(self) -> None:
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    async def _share(self, appid: str, *, rejected: str, force: bool) -> str:
        """Join the flight under way, or start one; who leaves early does not end it."""
        key = (appid, rejected, force)
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._obtain(appid, rejected=rejected, force=force))
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key))
        return await asyncio.shield(flight)

    async def _obtain(self, appid: str, *, rejected: str, force: bool) -> str:
        stored = await self._db.read(store.read_access_token, appid)
        if stored is None or stored.token == rejected or not self._is_fresh(stored):
            return await self._ask(appid, force=force)
        self._held[appid] = stored
        return stored.token

    async def _ask(self, appid: str, *, force: bool) -> str:
        if force and not await self._db.write(store.claim_force, appid, self._now()):
            raise WeChatUnavailable("a token was forced too often")
        token = await self._fetch(appid, force)
        # Held before it is stored: a database that is out must not cost us another token.
        self._held[appid] = token
        await self._db.write(store.save_access_token, appid, token)
        return token.token

    def _is_fresh(self, token: AccessToken) -> bool:
        return token.expires_at - self._now() > RENEW_BEFORE_MS
