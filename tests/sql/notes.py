"""A table for the tests of transactions: words on notes."""

from collections.abc import Sequence

from sqlalchemy import Column, MetaData, String, Table, func, insert, select, text, update
from sqlalchemy.schema import CreateTable

from sql.database import list_verb
from sql.events import Line, append, lock_streams
from sql.transaction import Tx
from sql.types import Id

notes = Table(
    "notes",
    MetaData(),
    Column("id", Id, primary_key=True),
    Column("word", String(20), nullable=False, unique=True),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
    mysql_collate="utf8mb4_bin",
)


class Refused(Exception):
    """A domain's own refusal."""


def make(tx: Tx) -> None:
    tx.execute(CreateTable(notes))


def add(tx: Tx, word: str) -> str:
    tx.execute(insert(notes).values(word=word))
    return word


def add_and_refuse(tx: Tx, word: str) -> None:
    add(tx, word)
    tell(tx, word)
    tx.wake(word)
    raise Refused(word)


def add_and_tell(tx: Tx, word: str) -> int:
    add(tx, word)
    tx.wake(word)
    return tell(tx, word)


def tell(tx: Tx, word: str, stream: str = "notes") -> int:
    """Append an event named for the word; its seq."""
    head = lock_streams(tx, [stream])[stream]
    append(tx, {stream: (head, [Line(word, 0, b"{}")])})
    return head.seq


def rename(tx: Tx, old: str, new: str) -> int:
    changed = tx.execute(update(notes).where(notes.c.word == old).values(word=new))
    return int(changed.rowcount)


def words(tx: Tx) -> list[str]:
    return list(tx.execute(select(notes.c.word).order_by(notes.c.id)).scalars())


def count(tx: Tx) -> int:
    return int(tx.execute(select(func.count()).select_from(notes)).scalar_one())


def value(tx: Tx, statement: str) -> object:
    """The first value that a statement gives."""
    return tx.execute(text(statement)).scalar()


def run(tx: Tx, statement: str) -> None:
    tx.execute(text(statement))


@list_verb
def add_all(tx: Tx, wanted: Sequence[str]) -> Sequence[int | Exception]:
    """How many were added together; an unwelcome word is refused, a bad one spoils all."""
    for word in wanted:
        if word != "unwelcome":
            add(tx, word)
        if word == "bad":
            raise Refused(word)
    return [Refused(word) if word == "unwelcome" else len(wanted) for word in wanted]
