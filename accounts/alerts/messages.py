"""What crosses a wire about alerts."""

from typing import Annotated

import msgspec
from msgspec import Meta


class Clearing(msgspec.Struct, frozen=True):
    """Why it is cleared: what was found out, and what was done."""

    # No control characters. The look-ahead is for "$", which also stands before a line feed.
    reason: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=200,
            pattern=r"^(?=.*\S)[^\x00-\x1f\x7f]*(?!\n)$",
            description="For the audit.",
        ),
    ]
