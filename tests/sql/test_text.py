"""Texts mean the same on both databases."""

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError

from sql.database import Database
from sql.mysql import MySQL
from tests.sql import notes


async def test_every_character_comes_back_as_it_was(book: Database) -> None:
    kept = ["空", "🍜🥢", "Ça", "a\tb\nc", "'; --", '"\\%_', "\u200b\u202e", "𠮷野家", ""]

    for word in kept:
        await book.write(notes.add, word)

    assert await book.read(notes.words) == kept


async def test_words_are_told_apart_by_case_accent_and_width(book: Database) -> None:
    kept = ["word", "Word", "wörd", "ｗord", "word1", "ß", "ss", "ﬁ", "fi"]

    for word in kept:
        await book.write(notes.add, word)

    assert await book.read(notes.words) == kept
    assert await book.write(notes.rename, "Word", "WORD") == 1
    assert await book.write(notes.rename, "wOrd", "x") == 0
    with pytest.raises(IntegrityError):
        await book.write(notes.add, "WORD")


@pytest.mark.mariadb
async def test_a_length_is_counted_in_characters_and_one_too_many_is_an_error(
    mysql_book: MySQL,
) -> None:
    await mysql_book.write(notes.add, "🍜" * 20)

    with pytest.raises(DBAPIError, match="too long"):
        await mysql_book.write(notes.add, "🍜" * 21)

    assert await mysql_book.read(notes.words) == ["🍜" * 20]
