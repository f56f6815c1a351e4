"""Hashing passwords by argon2, away from the loop.

A hash takes some 50 ms of a core and 64 MiB, on purpose. So no more than two are made at
once, and no more than a bounded number wait: a flood of sign-ins must not stop the numbers.
"""

import asyncio
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, Protocol, TypeVar

import argon2
from argon2.exceptions import VerifyMismatchError

from sql.errors import Overloaded

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE: Final = 2
WAITING_MAX: Final = 64


class Hasher(Protocol):
    """argon2.PasswordHasher, with whatever parameters."""

    def hash(self, password: str, /) -> str: ...
    def verify(self, hash: str, password: str, /) -> object: ...  # noqa: A002


class Passwords:
    """The hasher's own defaults are RFC 9106's second recommendation."""

    def __init__(self, hasher: Hasher | None = None) -> None:
        self._hasher: Hasher = hasher or argon2.PasswordHasher()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="passwords")
        self._waiting = 0
        self._nobodys = ""

    async def hash(self, password: str) -> str:
        """Another text each time, for the salt in it. Raises Overloaded."""
        return await self._run(self._hasher.hash, _normal(password))

    async def is_right(self, password: str, password_hash: str | None) -> bool:
        """Whether the hash is this password's. None, for nobody's, takes as long and is False.

        Raises Overloaded.
        """
        return await self._run(self._is_right, _normal(password), password_hash)

    def close(self) -> None:
        self._pool.shutdown()

    def _is_right(self, password: str, password_hash: str | None) -> bool:
        if not self._nobodys:
            # Whether the name is right or wrong: the first to ask waits for it.
            self._nobodys = self._hasher.hash("nobody has this password")
        try:
            self._hasher.verify(password_hash or self._nobodys, password)
        except VerifyMismatchError:
            return False
        return password_hash is not None

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._waiting >= WAITING_MAX:
            raise Overloaded("too many passwords wait to be hashed")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, partial(work, *args, **kwargs)
            )
        finally:
            self._waiting -= 1


def _normal(password: str) -> str:
    """One spelling for what keyboards send in two. Source: RFC 8265, by NFKC for NFC's sake."""
    return unicodedata.normalize("NFKC", password)
