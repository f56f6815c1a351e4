"""WeChat Pay's ways to write a moment; all but V3's leave out that they mean Beijing."""

from datetime import datetime

from simulators.clock import BEIJING

DAY_S = 86_400


def beijing(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, BEIJING)


def digits(at_s: float) -> str:
    """`20261120120500`"""
    return beijing(at_s).strftime("%Y%m%d%H%M%S")


def spaced(at_s: float) -> str:
    """`2026-11-20 12:05:00`"""
    return beijing(at_s).strftime("%Y-%m-%d %H:%M:%S")


def rfc3339(at_s: float) -> str:
    """`2026-11-20T12:05:00+08:00`"""
    return beijing(at_s).isoformat(timespec="seconds")


def of_digits(text: str) -> float:
    """Seconds of `yyyyMMddHHmmss`, or of `yyyyMMdd` at midnight. Raises ValueError."""
    form = {14: "%Y%m%d%H%M%S", 8: "%Y%m%d"}.get(len(text))
    if form is None or not text.isascii() or not text.isdigit():
        raise ValueError(f"not a moment: {text!r}")
    return datetime.strptime(text, form).replace(tzinfo=BEIJING).timestamp()


def day_of(text: str) -> float:
    """The first second of the Beijing day `yyyyMMdd` or `yyyy-MM-dd`. Raises ValueError."""
    return of_digits(text.replace("-", "") if len(text) == 10 else text)


def is_on_day(at_s: float, day_s: float) -> bool:
    return day_s <= at_s < day_s + DAY_S
