"""Logging: one line an event, masked, for a person or for a machine."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# What must not be read in a log even when somebody logs it by mistake: session keys and
# digests, tokens, WeChat's openids, mobile numbers.
_SECRETS = re.compile(
    r"\b[0-9a-f]{40,64}\b"
    r"|\beyJ[\w-]+\.[\w-]+\.[\w-]+"
    r"|(?<![\w-])o[A-Za-z0-9_-]{27}(?![\w-])"
    r"|(?<![\d.])1[3-9]\d{9}(?!\d)",
    # A Chinese character beside it is no part of the word.
    re.ASCII,
)


def mask(text: str) -> str:
    """The text with everything that looks like a secret or a person shortened to its start."""
    return _SECRETS.sub(lambda match: match[0][:4] + "…", text)


def _mask_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if not isinstance(value, int | float | None):
            event[key] = mask(value if isinstance(value, str) else str(value))
    return event


def set_up(*, level: str, style: str) -> None:
    """Send all logging through structlog to stderr. style: "console" or "json"."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    render: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _mask_event,
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # Alembic tells every migration step, httpx every request with its address.
    for noisy in ("alembic", "httpx", "httpcore", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
