"""A process that is killed: at its n-th step towards the database or WeChat, it is no more.

The step before a call is before its effect, the one after it before anybody knows of it.
Whoever is dead does nothing any more, whatever its `finally` would have liked to do.
"""

from typing import Any


class Killed(BaseException):
    """No `except Exception` of ours catches a kill."""


class Life:
    """A process that ends at step `at`, counted from 0."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.steps = 0
        self.is_dead = False

    def step(self) -> None:
        self.is_dead = self.is_dead or self.steps == self.at
        self.steps += 1
        if self.is_dead:
            raise Killed


class Mortal:
    """Stands before an object; each call of one of its verbs is two steps of a life."""

    def __init__(self, whose: Any, life: Life, verbs: tuple[str, ...]) -> None:
        self._whose = whose
        self._life = life
        self._verbs = verbs

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._whose, name)
        if name not in self._verbs:
            return verb

        async def call(*args: Any, **kwargs: Any) -> Any:
            self._life.step()
            answer = await verb(*args, **kwargs)
            self._life.step()
            return answer

        return call


def mortal_database(db: Any, life: Life) -> Any:
    return Mortal(db, life, ("write",))


def mortal_gateway(bank: Any, life: Life) -> Any:
    return Mortal(bank, life, ("place", "query", "close", "refund", "query_refund"))
