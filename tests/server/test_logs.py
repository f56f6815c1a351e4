"""What the log must never hold, whoever logs it and however."""

import json
import logging
import subprocess
import sys

import pytest

from server.logs import mask

OPENID = "oABCDEFGHIJKLMNOPQRSTUVWX-_-"
SECRETS = {
    "an openid": OPENID,
    "an openid that ends with a dash": "o6_bmjrPTlm6_2sgVt7hMZOPfL2-",
    "a mobile number": "13800138000",
    "a session key": "0123456789abcdef0123456789abcdef01234567",
    "a digest": "0123456789abcdef" * 4,
    "a JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl-_",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize(
    "around", ["{}", "of {} here", '"{}"', "openid={},", "[{}]", "/x?k={}&y=1", "键{}。"]
)
def test_of_a_secret_only_the_start_is_left(secret: str, around: str) -> None:
    text = around.format(secret)

    assert mask(text) == around.format(secret[:4] + "…")


@pytest.mark.parametrize(
    "text",
    [
        "listening on 127.0.0.1:8000",
        "stall 13 was charged 1 month",
        "at 1795147200123 ms",
        "a request took 13800138000123 ns",
        "number 39 of only-twenty-eight-letters-x",
        "0123456789abcdef",
        "版本 0.1.0",
    ],
)
def test_what_is_no_secret_is_left_as_it_is(text: str) -> None:
    assert mask(text) == text


LOGGING = """
import logging, structlog, sys
from server.logs import set_up
set_up(level="info", style=sys.argv[1])
secret = sys.argv[2]
logging.getLogger("std").warning("of %s", secret)
structlog.get_logger("own").info("said", who=secret, many=[secret], deep={"k": secret}, n=7)
try:
    raise ValueError(secret)
except ValueError:
    logging.getLogger("std").exception("failed")
logging.getLogger("std").debug("not shown")
logging.getLogger("httpx").info("not shown")
"""


@pytest.mark.parametrize("style", ["console", "json"])
def test_nothing_that_is_logged_holds_the_secret(style: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOGGING, style, OPENID],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout == ""
    assert OPENID not in done.stderr
    assert "oABC…" in done.stderr
    assert "not shown" not in done.stderr
    assert "ValueError" in done.stderr


def test_json_lines_carry_time_level_and_logger() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOGGING, "json", OPENID],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    lines = [json.loads(line) for line in done.stderr.splitlines()]

    assert [(line["level"], line["logger"]) for line in lines] == [
        ("warning", "std"),
        ("info", "own"),
        ("error", "std"),
    ]
    assert lines[1]["n"] == 7
    assert all(line["timestamp"].endswith("Z") for line in lines)
    assert logging.getLogger("std").name == "std"
