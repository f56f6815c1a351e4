"""In which order a list comes: by one of the fields that it names, both databases alike."""

from collections.abc import Mapping
from typing import Any


def ordered(sort: str, fields: Mapping[str, Any], *then: Any) -> tuple[Any, ...]:
    """What to order by for a field, or with a minus for the largest first. Nothing is below all.

    fields: the columns by the names that a client may give; which it did was looked at before.
    then: what tells apart those that are equal, in the same direction, so that each is on one page.
    """
    columns = (fields[sort.removeprefix("-")], *then)
    return tuple(column.desc() for column in columns) if sort.startswith("-") else columns
