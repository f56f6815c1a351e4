"""Column types that mean the same on SQLite and on MySQL."""

from typing import TypeAlias

from sqlalchemy import BigInteger, Integer

Millis: TypeAlias = int
"""Milliseconds since 1970-01-01T00:00:00Z. Turned into text only at the edge."""

# SQLite makes a column its rowid only when the type is spelt INTEGER; MySQL's
# INTEGER would end at two thousand million.
Id = BigInteger().with_variant(Integer, "sqlite")
