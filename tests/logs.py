"""An unexpected warning in the log fails the test that caused it (an idea of Tornado's)."""

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class LogWatch:
    """Keeps what was logged at WARNING or above, on any logger and from any thread."""

    def __init__(self) -> None:
        self._records: list[logging.LogRecord] = []
        self._expected: list[re.Pattern[str]] = []
        self._allowed: list[re.Pattern[str]] = []
        self._lock = threading.Lock()

    def expect(self, pattern: str) -> None:
        """Allow lines in which the pattern is found; at least one must come."""
        self._expected.append(re.compile(pattern))

    def allow(self, pattern: str) -> None:
        """Such lines may come: where chance decides what goes wrong."""
        self._allowed.append(re.compile(pattern))

    def add(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            with self._lock:
                self._records.append(record)

    @property
    def lines(self) -> list[str]:
        with self._lock:
            return [line_of(record) for record in self._records]

    def complaints(self) -> list[str]:
        """What came unexpectedly, and what was expected and did not come."""
        lines = self.lines
        known = (*self._expected, *self._allowed)
        strays = [line for line in lines if not any(p.search(line) for p in known)]
        silent = [p.pattern for p in self._expected if not any(p.search(line) for line in lines)]
        return [f"unexpected log line: {line}" for line in strays] + [
            f"expected log line never came: {pattern}" for pattern in silent
        ]


def line_of(record: logging.LogRecord) -> str:
    """`WARNING server.jobs: message`, and the exception's last line where there is one."""
    line = f"{record.levelname} {record.name}: {record.getMessage()}"
    if record.exc_info and record.exc_info[1] is not None:
        line += f" [{record.exc_info[1]!r}]"
    return line


@contextmanager
def watching(watch: LogWatch) -> Iterator[LogWatch]:
    """Show every record to the watch.

    It sits where every record passes, not on the root logger: a program that sets up its logging
    replaces the root's handlers, and a logger may be told not to hand its records upwards.
    """
    handle = logging.Logger.handle

    def handle_and_show(self: logging.Logger, record: logging.LogRecord) -> None:
        watch.add(record)
        handle(self, record)

    logging.Logger.handle = handle_and_show  # type: ignore[method-assign]
    try:
        yield watch
    finally:
        logging.Logger.handle = handle  # type: ignore[method-assign]
