import logging
from collections.abc import Callable

import structlog

from tests.logs import LogWatch, watching


def test_a_stray_warning_is_a_complaint() -> None:
    logger = logging.getLogger("somewhere.deep")
    logger.propagate = False

    # Given to a watch of its own, and expected by nobody.
    watch = LogWatch()
    record = logger.makeRecord(logger.name, logging.WARNING, "f", 1, "socket %s lost", (7,), None)
    watch.add(record)

    assert watch.complaints() == ["unexpected log line: WARNING somewhere.deep: socket 7 lost"]


def test_news_below_a_warning_is_none_of_the_watch() -> None:
    with watching(LogWatch()) as watch:
        logging.getLogger("quiet").info("all is well")

    assert watch.complaints() == []


def test_an_expected_line_is_none_and_its_absence_is_a_complaint() -> None:
    watch = LogWatch()
    watch.expect("lost$")
    watch.expect("found")
    logger = logging.getLogger("l")
    watch.add(logger.makeRecord("l", logging.ERROR, "f", 1, "socket lost", (), None))

    assert watch.complaints() == ["expected log line never came: found"]


def test_an_allowed_line_is_none_whether_it_comes_or_not() -> None:
    watch = LogWatch()
    watch.allow("lost$")
    watch.allow("found")
    logger = logging.getLogger("l")
    watch.add(logger.makeRecord("l", logging.ERROR, "f", 1, "socket lost", (), None))

    assert watch.complaints() == []


def test_the_watch_sees_every_logger_however_it_is_set_up(
    log_watch: LogWatch, expect_log: Callable[[str], None]
) -> None:
    expect_log("of its own")
    expect_log("structured")
    expect_log(r"failed \[ValueError\('why'\)\]")
    logger = logging.getLogger("of.its.own")
    logger.propagate = False

    logger.warning("of its own")
    structlog.get_logger("s").warning("structured", stall_id=7)
    try:
        raise ValueError("why")
    except ValueError:
        logger.exception("failed")

    assert log_watch.complaints() == []
