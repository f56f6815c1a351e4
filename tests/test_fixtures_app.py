"""The fixtures of a running server, held against the smallest one."""

from collections.abc import AsyncIterator

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from tests.fixtures_app import Running


class Hello(RequestHandler):
    def get(self) -> None:
        self.write("你好")


class Small:
    """What `server.app.start` gives, in its smallest form."""

    def __init__(self) -> None:
        sockets = bind_sockets(0, "127.0.0.1")
        self.port: int = sockets[0].getsockname()[1]
        self._server = HTTPServer(Application([("/", Hello)]))
        self._server.add_sockets(sockets)

    async def stop(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()


@pytest.fixture
async def app() -> AsyncIterator[Running]:
    running = Small()
    yield running
    await running.stop()


async def test_a_test_asks_a_running_server_by_its_address(
    http_client: AsyncHTTPClient, base_url: str, http_port: int, http_server: Running
) -> None:
    answer = await http_client.fetch(f"{base_url}/")

    assert answer.body.decode() == "你好"
    assert base_url == f"http://127.0.0.1:{http_port}"
    assert http_server.port == http_port


def test_the_settings_name_a_database_and_a_port_of_the_tests_own(
    settings: dict[str, str], database_url: str
) -> None:
    assert settings["CALLME_DATABASE__URL"] == database_url
    assert settings["CALLME_SERVER__PORT"] == "0"
