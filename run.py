"""The command line."""

from __future__ import annotations

import gc

# Nothing that imports make is garbage, and looking for some takes a sixth of a start.
gc.disable()

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from accounts.model import AccountsError
from server import admins, logs
from server import app as wiring
from server import demo as demo_server
from server import doctor as examiner
from server.clock import now
from server.config import Config, ConfigError, load, masked, what_is_off
from sql.backup import backup as back_up
from sql.backup import path_of
from sql.backup import restore as put_back
from sql.database import open_database
from sql.errors import DatabaseError

gc.enable()

FAILED = 1
WRONG_USAGE = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "file", metavar="FILE", help="Settings (default: config.toml).")
@click.pass_context
def main(context: click.Context, file: str | None) -> None:
    """callme: take a number, be called."""
    context.obj = file


@main.command()
@click.option("--host", help="Overrides server.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Overrides server.port.")
@click.option("--no-migrate", is_flag=True, help="Do not bring the tables up to date first.")
@click.pass_obj
def serve(file: str | None, host: str | None, port: int | None, no_migrate: bool) -> None:
    """Run the server."""
    config = _load(file, {"server": {"host": host, "port": port}})
    _run(config, lambda stop: wiring.serve(config, stop, migrate=not no_migrate))


@main.command()
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option("--no-rush", is_flag=True, help="Nobody comes.")
def demo(port: int, no_rush: bool) -> None:
    """Run the server with demo data and simulated surroundings under var/demo/."""
    logs.set_up(level="warning", style="console")
    _until_signal(lambda stop: demo_server.run(port=port, rush=not no_rush, stop=stop))


@main.command()
@click.pass_obj
def migrate(file: str | None) -> None:
    """Bring the database to this program's version."""
    config = _load(file)

    async def run() -> None:
        db = await open_database(config.database.url, now=now)
        try:
            await db.migrate()
        finally:
            await db.close()

    _complete(run())
    click.echo("the database is up to date")


@main.command("check-config")
@click.pass_obj
def check_config(file: str | None) -> None:
    """Print the configuration with secrets masked, and what is off for want of a setting."""
    config = _load(file)
    for section, values in masked(config).items():
        click.echo(f"[{section}]")
        for key, value in values.items():
            click.echo(f"{key} = {msgspec.json.encode(value).decode()}")
        click.echo()
    for text in what_is_off(config):
        click.echo(f"off: {text}")


@main.command("check-books")
@click.pass_obj
def check_books(file: str | None) -> None:
    """Check every promise about money; exit 1 when one is broken."""
    config = _load(file)
    found = _complete(wiring.check_books(config))
    for violation in found:
        click.echo(f"{violation.invariant} {violation.subject}: {violation.text}", err=True)
    if found:
        sys.exit(FAILED)
    click.echo("the books are in order")


@main.command("export-openapi")
@click.argument("target", required=False, type=click.Path(dir_okay=False, path_type=Path))
def export_openapi(target: Path | None) -> None:
    """Write the OpenAPI document to a file, or to standard output."""
    text = wiring.openapi_text()
    if target is None:
        click.echo(text)
    else:
        target.write_text(text + "\n", "utf-8")


@main.command()
@click.pass_obj
def doctor(file: str | None) -> None:
    """Reach the database, Redis, WeChat, Xiaomai and the ERP, and say how they are."""
    config = _load(file)
    findings = _complete(examiner.examine(config))
    for part, is_well, text in findings:
        click.echo(f"{'ok  ' if is_well else 'FAIL'}  {part}: {text}")
    if not all(is_well for _, is_well, _ in findings):
        sys.exit(FAILED)


@main.command()
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def backup(file: str | None, target: Path) -> None:
    """Copy the SQLite database to a file; the server may be running."""
    config = _load(file)
    size = _do(lambda: back_up(path_of(config.database.url), target))
    pictures = f"{config.server.media_dir}/ and {config.cabinet.complaints_dir}/"
    click.echo(f"{target}: {size} bytes. Pictures are in {pictures}.")


@main.command()
@click.argument("source", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def restore(file: str | None, source: Path) -> None:
    """Put a backup in the place of the database; the server must be stopped."""
    config = _load(file)
    _do(lambda: path_of(config.database.url))
    kept = _complete(put_back(source, config.database.url, now=now))
    click.echo("restored" if kept is None else f"restored; the former database is {kept}")


@main.command("create-admin")
@click.argument("login")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.pass_obj
def create_admin(file: str | None, login: str, password_stdin: bool) -> None:
    """Make an owner of the back office, or give one a new password and no second factor."""
    if not password_stdin:
        # A password among the arguments is in everybody's list of processes.
        raise click.UsageError("--password-stdin is missing: the password is read from there.")
    config = _load(file)
    password = sys.stdin.readline().rstrip("\r\n")
    made = _complete(admins.make_owner(config, login, password))
    click.echo(f"{login} is {'made' if made else 'reset'}, and an owner")


def _load(file: str | None, overrides: dict[str, dict[str, Any]] | None = None) -> Config:
    try:
        config = load(file, overrides=overrides)
    except ConfigError as error:
        click.echo(f"configuration: {error}", err=True)
        sys.exit(WRONG_USAGE)
    logs.set_up(level=config.server.log_level, style=config.server.log_format)
    return config


def _run(config: Config, body: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    for text in what_is_off(config):
        click.echo(f"off: {text}", err=True)
    _until_signal(body)


def _until_signal(body: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run until SIGTERM or SIGINT; then let the body end by itself."""

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, stop.set)
        await body(stop)

    _complete(run())


def _complete(work: Any) -> Any:
    return _do(lambda: asyncio.run(work))


def _do(work: Callable[[], Any]) -> Any:
    """Do it; what can go wrong from outside is one line, not a traceback."""
    try:
        return work()
    except ConfigError as error:
        click.echo(f"configuration: {error}", err=True)
        sys.exit(WRONG_USAGE)
    except (AccountsError, DatabaseError) as error:
        click.echo(f"{error.title}: {error}", err=True)
    except (OSError, ValueError) as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
    sys.exit(FAILED)


if __name__ == "__main__":
    main()
