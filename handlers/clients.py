"""Who is connected: by account, by session, all together."""

import asyncio
from collections.abc import Iterator
from typing import Final, Protocol

from accounts.model import Session

NOT_SIGNED_IN: Final = 4401
REPLACED: Final = 4409
RESTARTING: Final = 1012

# A phone, a tablet, a browser, and the two a bad network has not given up yet.
PER_ACCOUNT_MAX: Final = 5


class Client(Protocol):
    """A connection, as this list needs to know it."""

    @property
    def session(self) -> Session | None: ...

    def close(self, code: int, reason: str) -> None: ...

    def retire(self, code: int, reason: str) -> None:
        """Close behind the answer to the command in hand; begin no other."""


class Clients:
    """Tuples, not lists or sets: nearly all have one entry, ten thousand times."""

    def __init__(self) -> None:
        self._all: set[Client] = set()
        self._of_account: dict[int, tuple[Client, ...]] = {}
        self._of_session: dict[int, tuple[Client, ...]] = {}
        # Commands that are being carried out, also for clients that are gone by now.
        self._working: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Client]:
        return iter(tuple(self._all))

    def add(self, client: Client) -> None:
        self._all.add(client)

    def sign_in(self, client: Client, session: Session) -> None:
        """Count a client for its account; beyond the bound the oldest is closed (4409)."""
        mine = self._of_account.get(session.account_id, ())
        self._of_account[session.account_id] = (*mine, client)
        self._of_session[session.id] = (*self._of_session.get(session.id, ()), client)
        if len(mine) >= PER_ACCOUNT_MAX:
            mine[0].close(REPLACED, "replaced by a newer connection")

    def remove(self, client: Client) -> None:
        """May be repeated."""
        self._all.discard(client)
        if client.session is not None:
            _take_out(self._of_account, client.session.account_id, client)
            _take_out(self._of_session, client.session.id, client)

    def end_session(self, session_id: int) -> None:
        for client in self._of_session.get(session_id, ()):
            client.close(NOT_SIGNED_IN, "the session has ended")

    def session_ids(self) -> list[int]:
        """The sessions that have a connection here."""
        return list(self._of_session)

    def close_all(self) -> None:
        for client in self:
            client.retire(RESTARTING, "restarting, come back with your seq")

    def work(self, task: "asyncio.Task[None]") -> None:
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def finish_work(self, timeout_s: float) -> bool:
        """Wait for commands in hand; returns whether all came to their end."""
        if not self._working:
            return True
        _, late = await asyncio.wait(self._working, timeout=timeout_s)
        return not late


def _take_out(index: dict[int, tuple[Client, ...]], key: int, client: Client) -> None:
    left = tuple(other for other in index.get(key, ()) if other is not client)
    if left:
        index[key] = left
    else:
        index.pop(key, None)
