"""A running server and a client for it, under the names pytest-tornado gave them.

`docs/decisions/0003` tells why they are ours. Everything the fixtures take for granted about the
server's wiring is in `AppModule` and `ConfigModule` below.
"""

import importlib
from collections.abc import AsyncIterator, Callable
from typing import Protocol, cast

import pytest
from tornado.httpclient import AsyncHTTPClient

from tests.clock import Clock


class Running(Protocol):
    """What `server.app.start` gives."""

    @property
    def port(self) -> int: ...

    async def stop(self) -> None: ...


class AppModule(Protocol):
    """What is asked of `server.app`."""

    async def start(self, config: object, now: Callable[[], int]) -> Running: ...


class ConfigModule(Protocol):
    """What is asked of `server.config`."""

    def from_environment(self, environment: dict[str, str]) -> object: ...


@pytest.fixture
def settings(database_url: str) -> dict[str, str]:
    """The environment the server is started with; a test file may override or extend it."""
    return {
        "CALLME_SERVER__HOST": "127.0.0.1",
        "CALLME_SERVER__PORT": "0",
        "CALLME_SERVER__SECRET": "a secret of the tests, long enough to sign with",
        "CALLME_DATABASE__URL": database_url,
        "CALLME_LIMITS__ENABLED": "false",
    }


@pytest.fixture
async def app(settings: dict[str, str], clock: Clock) -> AsyncIterator[Running]:
    """The whole server on a free port, with the test's clock."""
    config = cast("ConfigModule", importlib.import_module("server.config"))
    wiring = cast("AppModule", importlib.import_module("server.app"))
    running = await wiring.start(config.from_environment(settings), clock.now)
    try:
        yield running
    finally:
        await running.stop()


@pytest.fixture
def http_server(app: Running) -> Running:
    return app


@pytest.fixture
def http_port(app: Running) -> int:
    return app.port


@pytest.fixture
def base_url(http_port: int) -> str:
    return f"http://127.0.0.1:{http_port}"


@pytest.fixture
async def http_client() -> AsyncIterator[AsyncHTTPClient]:
    """Tornado's client: `await http_client.fetch(base_url + "/healthz")`."""
    client = AsyncHTTPClient(force_instance=True)
    try:
        yield client
    finally:
        client.close()
