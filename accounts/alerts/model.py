"""Who may be told what of an incident, and which alerts a person may clear."""

import re
from typing import Final


class AlertNotFound(Exception):
    code = "alerts.not_found"
    title = "No such alert"


class AlertIsWatched(Exception):
    """What it tells of is looked at again and again: it ends when that is well, and not before."""

    code = "alerts.watched"
    title = "This alert ends by itself when what it tells of is well"


# As a field of JSON or XML, whatever it holds; and by its look, wherever it stands.
_FIELD: Final = re.compile(r'(openid\\?"\s*:\s*\\?"|openid>(?:<!\[CDATA\[)?)([^"\\<>\]]+)')
_OPENID: Final = re.compile(r"(?<![\w-])o[A-Za-z0-9_-]{27}(?![\w-])", re.ASCII)


def masked(raw: str) -> str:
    """What was received, with every openid cut to its beginning."""
    named = _FIELD.sub(lambda found: found[1] + _cut(found[2]), raw)
    return _OPENID.sub(lambda found: _cut(found[0]), named)


def _cut(openid: str) -> str:
    return openid[:4] + "…"
