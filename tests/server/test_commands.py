"""`run.py`, as an operator types it."""

import asyncio
import json
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import argon2
import msgspec
import pytest
from sqlalchemy import update

from payments.store import owe
from server.app import openapi_text
from simulators.erp import Erp
from simulators.wechat import WeChat
from simulators.wechat.pay.faults import AnswerFault, PayFault
from simulators.xiaomai import Xiaomai
from sql.database import Tx, open_database
from sql.tables.payments import debts
from tests.chaos.cluster import run_py, settings
from tests.clock import Clock
from tests.edge.street import street_settings
from tests.servers import MariaDB, Redis

MERCHANT_KEY = "CALLME_WECHATPAY__MERCHANT_KEY_FILE"


class Done(msgspec.Struct, frozen=True):
    code: int
    output: str
    errors: str


class Operator:
    """Somebody at a terminal in an empty folder."""

    def __init__(self, folder: Path, given: dict[str, str]) -> None:
        self.folder = folder
        self.given = given

    async def types(self, *arguments: str, typed: str = "", **more: str) -> Done:
        """typed: what the command reads from its standard input."""
        process = run_py(
            *arguments,
            environment={**self.given, **more},
            folder=self.folder,
            stdin=subprocess.PIPE,
        )
        output, errors = await asyncio.to_thread(process.communicate, typed.encode(), timeout=60)
        # What is off for want of a setting is told by `serve`, and is no complaint.
        lines = errors.decode().splitlines(keepends=True)
        complaints = "".join(line for line in lines if not line.startswith("off: "))
        return Done(process.returncode, output.decode(), complaints)


@pytest.fixture
async def wechat() -> AsyncIterator[WeChat]:
    running = WeChat()
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def operator(tmp_path: Path, wechat: WeChat) -> Operator:
    return Operator(tmp_path, settings(wechat, f"sqlite:///{tmp_path}/callme.db", tmp_path))


async def test_check_config_prints_what_holds_and_no_secret(operator: Operator) -> None:
    (operator.folder / "config.toml").write_text("[queue]\nrest_s = 77\npick = 'lowest'\n")

    done = await operator.types(
        "check-config", CALLME_WECHAT__DINER_SECRET="hidden", CALLME_QUEUE__ADMIN_OPENIDS=""
    )

    assert (done.code, done.errors) == (0, "")
    assert '[queue]\nadmin_openids = ""\npick = "lowest"\nrest_s = 0\n' in done.output
    assert 'diner_secret = "****"' in done.output
    assert "hidden" not in done.output
    assert operator.given["CALLME_SERVER__SECRET"] not in done.output
    assert "off: queue.admin_openids: nobody is an administrator\n" in done.output


async def test_migrate_makes_the_tables_and_may_be_repeated(operator: Operator) -> None:
    for _ in range(2):
        done = await operator.types("migrate")
        assert (done.code, done.output) == (0, "the database is up to date\n"), done.errors

    tables = sqlite3.connect(operator.folder / "callme.db").execute(
        "SELECT name FROM sqlite_master"
    )
    assert ("tickets",) in tables.fetchall()


async def test_a_server_that_may_not_migrate_says_that_it_must(operator: Operator) -> None:
    done = await operator.types("serve", "--no-migrate", "--port", "0")

    assert done.code == 1
    assert done.errors.count("\n") == 1
    assert "migrate" in done.errors


async def test_a_database_of_a_newer_program_is_left_alone(operator: Operator) -> None:
    await operator.types("migrate")
    connection = sqlite3.connect(operator.folder / "callme.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()

    for command in (("migrate",), ("serve", "--port", "0")):
        done = await operator.types(*command)
        assert done.code == 1
        assert "another version" in done.errors
        assert done.errors.count("\n") == 1


async def test_the_doctor_finds_everything_well(operator: Operator) -> None:
    done = await operator.types("doctor")

    assert done.code == 0, done.output + done.errors
    assert [line.split("  ")[0] for line in done.output.splitlines()] == ["ok"] * 6
    assert "gives us a token" in done.output
    for part in ("wechat pay", "xiaomai", "erp"):
        assert f"ok    {part}: off" in done.output


async def test_the_doctor_asks_the_cabinets_platform_and_the_erp(
    operator: Operator, street: dict[str, str], platform: Xiaomai
) -> None:
    done = await operator.types("doctor", **street)

    assert done.code == 0, done.output + done.errors
    assert "ok    xiaomai: takes our signature\n" in done.output
    assert "ok    erp: takes our token\n" in done.output
    # Of a cabinet that it cannot know.
    assert [(call.endpoint, call.code) for call in platform.calls] == [("device/status", 2001)]


async def test_the_doctor_says_what_the_platform_and_the_erp_do_not_take(
    operator: Operator, street: dict[str, str]
) -> None:
    wrong = {"CALLME_XIAOMAI__SECRET": "another secret", "CALLME_ERP__TOKEN": "another token"}

    done = await operator.types("doctor", **street | wrong)

    assert done.code == 1
    assert "FAIL  xiaomai: " in done.output
    assert "FAIL  erp: HTTP 401" in done.output
    assert "another" not in done.output + done.errors


async def test_the_doctor_says_which_of_them_does_not_answer(
    operator: Operator, street: dict[str, str], platform: Xiaomai, erp: Erp
) -> None:
    await platform.stop()
    await erp.stop()

    gone = await operator.types("doctor", **street)

    assert gone.code == 1
    assert "FAIL  xiaomai: " in gone.output
    assert "FAIL  erp: " in gone.output


@pytest.fixture
async def platform() -> AsyncIterator[Xiaomai]:
    """By the clock on the wall, as the doctor is."""
    sim = Xiaomai()
    await sim.start()
    yield sim
    await sim.stop()


@pytest.fixture
async def erp() -> AsyncIterator[Erp]:
    sim = Erp()
    await sim.start()
    yield sim
    await sim.stop()


@pytest.fixture
def street(platform: Xiaomai, erp: Erp) -> dict[str, str]:
    return street_settings(platform, erp)


def paid_by(wechat: WeChat) -> dict[str, str]:
    """Settings with which the simulated WeChat Pay is the one to pay at."""
    told = wechat.pay.introduction(wechat.url)
    names = ("mch_id", "api_v2_key", "api_v3_key", "merchant_key_file", "merchant_cert_file",
             "platform_keys_dir")  # fmt: skip
    chosen = {f"CALLME_WECHATPAY__{name.upper()}": str(told[name]) for name in names}
    simulated = {"CALLME_WECHATPAY__ALLOW_SIMULATOR": "true"}
    return {**chosen, **simulated, "CALLME_WECHATPAY__URL": wechat.url}


async def test_the_doctor_has_a_word_come_back_from_wechat_pay(
    operator: Operator, wechat: WeChat
) -> None:
    done = await operator.types("doctor", **paid_by(wechat))

    assert done.code == 0, done.output + done.errors
    assert "ok    wechat pay: takes our signature, and we read its own" in done.output
    assert [call.endpoint for call in wechat.pay.calls if call.outcome] == ["v3.echo"]


async def test_the_doctor_fetches_the_platforms_certificates_where_none_are_given(
    operator: Operator, wechat: WeChat
) -> None:
    given = {**paid_by(wechat), "CALLME_WECHATPAY__PLATFORM_KEYS_DIR": ""}

    done = await operator.types("doctor", **given)

    assert done.code == 0, done.output + done.errors
    endpoints = [call.endpoint for call in wechat.pay.calls]
    assert endpoints == ["v3.certificates", "v3.echo"]


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("forged_sign", "signature"),
        ("unknown_serial", "not known here"),
        ("http_502", "502"),
        ("nonsense", ""),
    ],
)
async def test_the_doctor_believes_no_answer_that_is_not_wechat_pays(
    operator: Operator, wechat: WeChat, kind: AnswerFault, word: str
) -> None:
    wechat.pay.faults.add(PayFault("v3.echo", kind, times=None))

    done = await operator.types("doctor", **paid_by(wechat))

    assert done.code == 1
    (line,) = [line for line in done.output.splitlines() if "wechat pay" in line]
    assert line.startswith("FAIL  wechat pay: echo: ")
    assert word in line


async def test_the_doctor_says_which_key_wechat_pay_does_not_take(
    operator: Operator, wechat: WeChat
) -> None:
    given = paid_by(wechat)
    other = operator.folder / "other.pem"
    other.write_bytes(wechat.pay.keys.pair("tls").key_file.read_bytes())

    mixed = await operator.types("doctor", **given | {MERCHANT_KEY: str(other)})

    assert mixed.code == 1
    assert "FAIL  wechat pay: the merchant's certificate is not of the merchant's key" in (
        mixed.output
    )


async def test_the_doctor_says_what_is_ill(operator: Operator) -> None:
    done = await operator.types("doctor", CALLME_WECHAT__SELLER_SECRET="wrong")

    assert done.code == 1
    assert "ok    wechat diner" in done.output
    assert "FAIL  wechat seller: /cgi-bin/stable_token: errcode 40125" in done.output
    assert "wrong" not in done.output


async def test_the_doctor_says_what_is_not_set(operator: Operator) -> None:
    done = await operator.types("doctor", CALLME_WECHAT__DINER_SECRET="")

    assert done.code == 0
    assert "wechat diner: off" in done.output


async def test_the_doctor_leaves_a_running_server_s_file_alone(
    operator: Operator, clock: Clock
) -> None:
    db = await open_database(operator.given["CALLME_DATABASE__URL"], now=clock.now)
    try:
        done = await operator.types("doctor")
    finally:
        await db.close()

    assert done.code == 0
    assert "a server has it open" in done.output
    assert "ok    wechat pay: off" in done.output


@pytest.mark.mariadb
async def test_the_doctor_looks_at_mariadb_and_redis(
    operator: Operator, mariadb_url: str, own_redis: Redis
) -> None:
    shared = {"CALLME_DATABASE__URL": mariadb_url, "CALLME_REDIS__URL": own_redis.url}

    well = await operator.types("doctor", **shared)
    own_redis.kill()
    without_redis = await operator.types("doctor", **shared)

    assert well.code == 0, well.output
    assert "ok    database: mysql" in well.output
    assert "ok    redis: answers" in well.output
    assert without_redis.code == 1
    assert "FAIL  redis" in without_redis.output


@pytest.mark.mariadb
async def test_a_mariadb_that_is_down_is_named_without_its_password(
    operator: Operator, mariadb: MariaDB
) -> None:
    url = "mysql://root:hidden@127.0.0.1:1/callme"

    done = await operator.types("doctor", CALLME_DATABASE__URL=url)

    assert done.code == 1
    assert done.output.startswith("FAIL  database: ")
    assert "hidden" not in done.output + done.errors
    assert mariadb.is_running


async def test_the_openapi_document_is_printed_or_written(operator: Operator) -> None:
    printed = await operator.types("export-openapi")
    written = await operator.types("export-openapi", "openapi.json")

    assert (printed.code, written.code, written.output) == (0, 0, "")
    assert printed.output == (operator.folder / "openapi.json").read_text("utf-8")
    assert printed.output == openapi_text() + "\n"
    assert json.loads(printed.output)["openapi"].startswith("3.1")


async def test_books_that_add_up_are_in_order(operator: Operator) -> None:
    done = await operator.types("check-books")

    assert (done.code, done.output, done.errors) == (0, "the books are in order\n", "")


async def test_what_is_wrong_in_the_books_is_named(operator: Operator, clock: Clock) -> None:
    await operator.types("migrate")
    db = await open_database(operator.given["CALLME_DATABASE__URL"], now=clock.now)
    try:
        await db.write(paid_from_nowhere)
    finally:
        await db.close()

    done = await operator.types("check-books")

    assert (done.code, done.output) == (1, "")
    assert "I8 debt 1: the payment's rows and the books do not agree\n" in done.errors


def paid_from_nowhere(tx: Tx) -> None:
    """What somebody does who changes the table by hand."""
    owe(tx, kind="test", subject=1, payer_id=1, amount_fen=100, description="noodles")
    tx.execute(update(debts).values(state="paid"))


async def test_a_backup_can_be_restored(operator: Operator) -> None:
    await operator.types("migrate")

    saved = await operator.types("backup", "saved.db")
    again = await operator.types("backup", "saved.db")
    restored = await operator.types("restore", "saved.db")

    assert saved.code == 0
    assert saved.output.startswith("saved.db: ")
    assert "Pictures are in" in saved.output
    assert again.code == 1
    assert again.errors == "FileExistsError: saved.db\n"
    assert restored.code == 0
    assert "the former database is" in restored.output
    former = operator.folder.glob("callme.db.before-restore-*")
    assert len([file for file in former if file.suffix[-1].isdigit()]) == 1


async def test_what_is_no_backup_is_not_restored(operator: Operator, clock: Clock) -> None:
    await operator.types("migrate")
    before = (operator.folder / "callme.db").read_bytes()
    (operator.folder / "nonsense").write_text("no database")

    for name in ("nonsense", "missing"):
        done = await operator.types("restore", name)
        assert done.code == 1
        assert done.errors.count("\n") == 1
        assert "no SQLite database" in done.errors

    assert (operator.folder / "callme.db").read_bytes() == before


async def test_a_database_in_use_is_not_restored(operator: Operator, clock: Clock) -> None:
    await operator.types("migrate")
    await operator.types("backup", "saved.db")
    db = await open_database(operator.given["CALLME_DATABASE__URL"], now=clock.now)
    try:
        done = await operator.types("restore", "saved.db")
    finally:
        await db.close()

    assert done.code == 1
    assert "in use by another process" in done.errors


async def test_an_owner_is_made_and_reset_from_the_command_line(operator: Operator) -> None:
    made = await operator.types("create-admin", "Li", "--password-stdin", typed="noodles at noon\n")
    reset = await operator.types("create-admin", "li", "--password-stdin", typed="rice at night")

    assert (made.code, made.output) == (0, "Li is made, and an owner\n"), made.errors
    assert (reset.code, reset.output) == (0, "li is reset, and an owner\n"), reset.errors
    rows = sqlite3.connect(operator.folder / "callme.db").execute(
        "SELECT login_name, role, status, password_hash FROM staff"
    )
    ((name, role, status, password_hash),) = rows.fetchall()
    assert (name, role, status) == ("Li", "owner", 1)
    assert argon2.PasswordHasher().verify(password_hash, "rice at night")


@pytest.mark.parametrize(
    ("login", "password", "complaint"),
    [
        ("li", "short", "too easily guessed: A password has at least 10 characters."),
        ("li", "", "too easily guessed"),
        ("li ming", "noodles at noon", "The login name cannot be used"),
    ],
)
async def test_an_owner_who_will_not_do_is_not_made(
    operator: Operator, login: str, password: str, complaint: str
) -> None:
    done = await operator.types("create-admin", login, "--password-stdin", typed=password)

    assert done.code == 1
    assert complaint in done.errors
    assert done.errors.count("\n") == 1


async def test_a_password_is_not_taken_from_the_list_of_processes(operator: Operator) -> None:
    done = await operator.types("create-admin", "li")

    assert done.code == 2
    assert "--password-stdin" in done.errors


async def test_no_owner_is_made_behind_the_back_of_a_running_server(
    operator: Operator, clock: Clock
) -> None:
    db = await open_database(operator.given["CALLME_DATABASE__URL"], now=clock.now)
    try:
        done = await operator.types(
            "create-admin", "li", "--password-stdin", typed="noodles at noon"
        )
    finally:
        await db.close()

    assert done.code == 1
    assert "in use by another process" in done.errors


@pytest.mark.parametrize("command", [("backup", "saved.db"), ("restore", "saved.db")])
async def test_a_mariadb_is_not_backed_up_here(
    operator: Operator, command: tuple[str, ...]
) -> None:
    (operator.folder / "saved.db").write_bytes(b"")

    done = await operator.types(*command, CALLME_DATABASE__URL="mysql://db/callme")

    assert done.code == 1
    assert "mariadb-dump" in done.errors
    assert done.errors.count("\n") == 1


async def test_a_backup_of_nothing_is_an_error(operator: Operator) -> None:
    done = await operator.types("backup", "saved.db")

    assert done.code == 1
    assert not (operator.folder / "saved.db").exists()


@pytest.mark.parametrize("command", ["check-config", "serve"])
async def test_an_address_too_long_for_stickers_is_said_clearly(
    operator: Operator, command: str
) -> None:
    done = await operator.types(command, CALLME_SERVER__BASE_URL="https://" + "x" * 100)

    assert done.code == 2
    assert "server.base_url has 1 characters too many for the codes on cabinets" in done.errors
    assert "Traceback" not in done.errors


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (("serve", "--port", "eighty"), "--port"),
        (("serve", "--port", "65536"), "--port"),
        (("fly",), "fly"),
        (("backup",), "TARGET"),
        (("--config", "missing.toml", "check-config"), "missing.toml"),
    ],
)
async def test_wrong_usage_is_exit_code_two(
    operator: Operator, command: tuple[str, ...], word: str
) -> None:
    done = await operator.types(*command)

    assert done.code == 2
    assert word in done.errors
    assert "Traceback" not in done.errors
