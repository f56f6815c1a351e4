"""What a database function is given: `Tx`, and the memory kept between transactions."""

from __future__ import annotations

import functools
import operator
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    CursorResult,
    Executable,
    Float,
    Insert,
    Integer,
    String,
    Table,
    Text,
    Update,
)
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import NullType

from sql.failures import Broken, broken_by
from sql.types import Millis

if TYPE_CHECKING:
    from sql.events import Event

R = TypeVar("R")
T = TypeVar("T")
Dialect = Literal["sqlite", "mysql"]


class Memory:
    """What write functions remember from one transaction to the next, by key.

    Belongs to the one writer of a process; never the truth, only a copy of what was
    committed. Whoever uses it must check its copy against the database inside the
    transaction (a stall's pool is checked by the seq of its stream).
    """

    def __init__(self, most: int = 20_000) -> None:
        self.most = most
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable) -> Any:
        return self._kept.get(key)

    def put(self, key: Hashable, value: Any) -> None:
        self._kept[key] = value
        self._kept.move_to_end(key)
        if len(self._kept) > self.most:
            self._kept.popitem(last=False)

    def forget(self, keys: set[Hashable]) -> None:
        for key in keys:
            self._kept.pop(key, None)

    def clear(self) -> None:
        self._kept.clear()


class Tx:
    """One database function's view of the transaction it runs in.

    The function may run more than once (deadlock, lost connection): it has no effects
    but those it asks for here. Events and wakes are told after the commit only.
    """

    __slots__ = (
        "_connection",
        "_memory",
        "broken",
        "dialect",
        "events",
        "now",
        "touched",
        "wakes",
    )

    def __init__(
        self, connection: Connection, *, now: Millis, dialect: Dialect, memory: Memory
    ) -> None:
        self.now = now
        self.dialect: Dialect = dialect
        self.events: list[Event] = []
        self.wakes: set[str] = set()
        self.touched: set[Hashable] = set()
        self.broken: Broken | None = None
        self._connection = connection
        self._memory = memory

    def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        """Run a statement. Its own errors (a key that is taken) may be caught."""
        return self._guarded(self._connection.execute, statement, parameters)

    def _guarded(
        self, run: Callable[..., CursorResult[Any]], statement: Any, parameters: Any
    ) -> CursorResult[Any]:
        if self.broken is not None:
            # SQLite would run it outside any transaction, and keep it.
            raise self.broken
        try:
            return run(statement, parameters)
        except DBAPIError as error:
            self.broken = broken_by(error)
            if self.broken is not None:
                raise self.broken from error
            raise

    def execute_many(self, bulk: Bulk, rows: Sequence[tuple[Any, ...]]) -> CursorResult[Any]:
        """Run a statement for many rows, each a tuple in the order of the bulk's names."""
        text, arrange = bulk.compiled(self.dialect)
        if arrange is not None:
            rows = [arrange(row) for row in rows]
        return self._guarded(self._connection.exec_driver_sql, text, rows)

    def publish(self, event: Event) -> None:
        """Tell an event to those who listen, after the commit."""
        self.events.append(event)

    def wake(self, job: str) -> None:
        """Let a timed job run soon after the commit."""
        self.wakes.add(job)

    def recall(self, key: Hashable) -> Any:
        """What an earlier committed function remembered under key, or None.

        It may be changed in place: when this function or its batch fails, it is forgotten.
        """
        self.touched.add(key)
        return self._memory.get(key)

    def remember(self, key: Hashable, value: Any) -> None:
        self.touched.add(key)
        self._memory.put(key, value)

    def undo_memory(self) -> None:
        """Forget all this function has seen or changed in memory; it was rolled back."""
        self._memory.forget(self.touched)


class Bulk:
    """A statement for many rows, compiled once: its rows go to the driver as they are.

    For rows of integers and texts in hot paths; SQLAlchemy's own way of many rows looks at
    every value of every row, which was a fifth of a batch's time.
    """

    def __init__(self, statement: Insert | Update, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._statement = statement
        self._compiled: dict[Dialect, tuple[str, Callable[[Any], Any] | None]] = {}

    def compiled(self, dialect: Dialect) -> tuple[str, Callable[[Any], Any] | None]:
        """The statement's text, and what puts a row into the order its marks have."""
        found = self._compiled.get(dialect)
        if found is None:
            found = self._compiled[dialect] = self._compile(dialect)
        return found

    def _compile(self, dialect: Dialect) -> tuple[str, Callable[[Any], Any] | None]:
        compiled = self._statement.compile(dialect=_DIALECTS[dialect], column_keys=list(self.names))
        assert isinstance(compiled, SQLCompiler)
        marks = compiled.positiontup or []
        # Other types would need SQLAlchemy's help on their way into the driver.
        assert {type(compiled.binds[name].type) for name in marks} <= _PLAIN
        order = [self.names.index(name) for name in marks]
        # All have several columns: an itemgetter of one would give no tuple.
        assert len(order) > 1
        arrange = None if order == list(range(len(self.names))) else operator.itemgetter(*order)
        return str(compiled), arrange


_PLAIN = {BigInteger, Boolean, Float, Integer, NullType, String, Text}
_DIALECTS = {
    "sqlite": sqlite.dialect(paramstyle="qmark"),
    "mysql": mysql.dialect(paramstyle="format"),
}


def insert_missing(tx: Tx, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows, but those whose key is there already."""
    tx.execute(_insert_missing(table, tx.dialect), rows)


@functools.cache
def _insert_missing(table: Table, dialect: Dialect) -> Insert:
    """Not MySQL's INSERT IGNORE, which cuts texts that are too long."""
    if dialect == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    key = next(iter(table.primary_key)).name
    return mysql.insert(table).on_duplicate_key_update({key: table.c[key]})


class ListVerb(Generic[R, T]):
    """A database function for a whole batch: many requests, an outcome for each.

    An outcome may be an exception; it is raised to the one who asked. Made by `list_verb`.
    """

    def __init__(self, run: Callable[[Tx, Sequence[R]], Sequence[T | Exception]]) -> None:
        self.run = run
        self.name = getattr(run, "__name__", "list_verb")

    def __call__(self, tx: Tx, requests: Sequence[R]) -> Sequence[T | Exception]:
        return self.run(tx, requests)


def list_verb(run: Callable[[Tx, Sequence[R]], Sequence[T | Exception]]) -> ListVerb[R, T]:
    """Mark a function as working on all waiting requests at once."""
    return ListVerb(run)
