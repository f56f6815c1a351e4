"""`Books`: whether the promises of the ledger hold, and the stop when they do not."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TypeAlias

from payments.ledger.history import store
from payments.ledger.history.replay import Replay
from payments.ledger.model import Violation
from payments.ledger.store import is_stopped
from sql.database import Database
from sql.transaction import Tx

log = logging.getLogger("callme.payments")

Check: TypeAlias = Callable[[Tx], Sequence[Violation]]

# Journals and accounts in one read: on a server the loop stands still for that long, some
# milliseconds.
AT_ONCE = 1_000


class Books:
    """The ledger's checker; what other parts promise about money is checked along."""

    def __init__(self, db: Database, *, at_once: int = AT_ONCE) -> None:
        self._db = db
        self._at_once = at_once
        self._checks: list[Check] = []
        self._replay = Replay()
        self._checking = asyncio.Lock()
        self._stopped = False

    def also(self, check: Check) -> None:
        """Have a further check made with each; it reads one snapshot and changes nothing."""
        self._checks.append(check)

    def is_stopped(self) -> bool:
        """Whether the last check found something: no new money is to move, numbers go on.

        In a transaction ask payments.ledger.store.is_stopped(tx), which also knows what other
        processes have found, and this one before it was started.
        """
        return self._stopped

    async def check(self, *, from_zero: bool = True) -> list[Violation]:
        """Look whether all promises hold; those that do not. May run beside all else.

        Raises an alert for each, once, and clears those that are gone.
        from_zero: read all journals again, and not only those since the last check that found
        nothing.
        """
        async with self._checking:
            # What an earlier check or another process has found is looked for everywhere.
            whole = from_zero or await self._db.read(is_stopped)
            found = await self._find(Replay() if whole else self._replay)
            new = await self._db.write(store.note_violations, found, whole=whole)
            self._stopped = bool(found)
        for violation in new:
            log.error(
                "the books are wrong: %s %s: %s",
                violation.invariant,
                violation.subject,
                violation.text,
            )
        return found

    async def _find(self, replay: Replay) -> list[Violation]:
        # Taken up again only when it has come through whole, and with nothing found.
        self._replay = Replay()
        await self._read_history(replay)
        await self._compare_accounts(replay)
        found = list(replay.violations)
        for check in (store.check_whole, *self._checks):
            found += await self._db.read(check)
        if not replay.violations:
            self._replay = replay
        return found

    async def _read_history(self, replay: Replay) -> None:
        """Read journals until there are no more."""
        head = 1
        while replay.seq < head:
            chapter = await self._db.read(store.read_chapter, after=replay.seq, most=self._at_once)
            replay.read(chapter)
            head = chapter.head

    async def _compare_accounts(self, replay: Replay) -> None:
        """Compare accounts page by page, each as of the moment the replay has come to."""
        last: int | None = 0
        while last is not None:
            chapter, accounts = await self._db.read(
                store.read_page, after=replay.seq, most=self._at_once, after_account=last
            )
            replay.read(chapter)
            if replay.seq < chapter.head:
                # More was posted meanwhile than one chapter holds: catch up first.
                continue
            replay.compare(accounts)
            last = accounts[-1].id if accounts else None
