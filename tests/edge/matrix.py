"""The tables of who may do what, as text that is read by people and by the tests.

A cell is what an identity is answered for its own, a foreign and a missing object
(`own/foreign/missing`), or one word for all three. `=` after a word: and nothing is changed by it.
"""

from dataclasses import dataclass

from tests.edge.world import IDENTITIES, STAFF_KEPT, STAFF_ROLES

OBJECTS = ("own", "foreign", "missing")


@dataclass(frozen=True)
class Cell:
    who: str
    whose: str
    outcome: str
    is_refused: bool


@dataclass(frozen=True)
class Row:
    """name: the route, command, topic or query. given: what it is tried with."""

    name: str
    given: str
    cells: tuple[Cell, ...]


def read(table: str, *, good: frozenset[str]) -> list[Row]:
    """The rows of a table: name | given | one cell for each identity its head names."""
    head, *lines = [line for line in table.splitlines() if line.strip()]
    identities = tuple(head.rpartition("|")[2].split())
    known = {IDENTITIES, STAFF_ROLES, STAFF_ROLES[::4], tuple(STAFF_KEPT)}
    assert identities in known, head
    return [_row(line, identities, good) for line in lines]


def _row(line: str, identities: tuple[str, ...], good: frozenset[str]) -> Row:
    name, given, cells = (part.strip() for part in line.split("|"))
    words = cells.split()
    assert len(words) == len(identities), line
    found = [
        _cell(who, whose, word, good)
        for who, text in zip(identities, words, strict=True)
        for whose, word in zip(OBJECTS, _three(text), strict=True)
    ]
    return Row(" ".join(name.split()), given, tuple(found))


def _three(text: str) -> list[str]:
    words = text.split("/")
    return words if len(words) == len(OBJECTS) else words * len(OBJECTS)


def _cell(who: str, whose: str, word: str, good: frozenset[str]) -> Cell:
    outcome = word.removesuffix("=")
    return Cell(who, whose, outcome, outcome != word or outcome not in good)
