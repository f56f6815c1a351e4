"""Servers as processes of their own (`run.py serve`), to be stopped, killed and started again."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx

from simulators.wechat import DINER_APPID, DINER_SECRET, SELLER_APPID, SELLER_SECRET, WeChat
from tests.servers import free_port

RUN = Path(__file__).parents[2] / "run.py"
SECRET = "a secret of the tests, long enough to sign with"
ADMIN = "openid-of-the-admin-0001"

# A healthy start takes a second; a machine that is busy with other tests may need many times that.
PATIENCE_S = 30.0
POLL_S = 0.01

T = TypeVar("T")


def settings(
    wechat: WeChat, database_url: str, folder: Path, redis_url: str = ""
) -> dict[str, str]:
    """The environment of a server; its port is the node's own."""
    return {
        "CALLME_SERVER__SECRET": SECRET,
        "CALLME_SERVER__BASE_URL": "http://127.0.0.1",
        "CALLME_SERVER__MEDIA_DIR": str(folder / "media"),
        "CALLME_SERVER__ACCESS_LOG": "false",
        "CALLME_DATABASE__URL": database_url,
        "CALLME_REDIS__URL": redis_url,
        "CALLME_LIMITS__ENABLED": "false",
        "CALLME_QUEUE__ADMIN_OPENIDS": ADMIN,
        "CALLME_QUEUE__REST_S": "0",
        "CALLME_WECHAT__API_URL": wechat.url,
        "CALLME_WECHAT__DINER_APPID": DINER_APPID,
        "CALLME_WECHAT__DINER_SECRET": DINER_SECRET,
        "CALLME_WECHAT__SELLER_APPID": SELLER_APPID,
        "CALLME_WECHAT__SELLER_SECRET": SELLER_SECRET,
    }


def run_py(
    *arguments: str,
    environment: dict[str, str],
    folder: Path,
    stdin: int = subprocess.DEVNULL,
) -> "subprocess.Popen[bytes]":
    """Start a command of run.py; its output goes to pipes."""
    return subprocess.Popen(
        [sys.executable, RUN, *arguments],
        cwd=folder,
        env=environment_of(environment),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def environment_of(given: dict[str, str]) -> dict[str, str]:
    """The machine's environment without any setting of ours, and the given ones."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("CALLME_")}
    return {**own, **given}


class Node:
    """One server on a port of its own, which it keeps when it is started again."""

    command: tuple[str | Path, ...] = (RUN, "serve")

    def __init__(self, given: dict[str, str], folder: Path) -> None:
        self.port = free_port()
        self.given = {**given, "CALLME_SERVER__PORT": str(self.port)}
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "the node has not been started"
        return self._process

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def _log(self) -> Path:
        return self.folder / f"node-{self.port}.log"

    async def start(self) -> float:
        """Start, and wait for /healthz; the seconds that took."""
        began = time.monotonic()
        self.launch()
        await until(self.answers, self)
        return time.monotonic() - began

    def launch(self) -> None:
        """Start without waiting for anything."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self.command],
                cwd=self.folder,
                env=environment_of(self.given),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
            return (await reader.readline()).startswith(b"HTTP/1.1 200")
        except OSError:
            return False
        finally:
            writer.close()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> None:
        self.process.terminate()

    async def ended(self) -> int:
        """Wait for its end; its exit code."""
        return await asyncio.to_thread(self.process.wait, PATIENCE_S)

    async def stop(self) -> int:
        self.terminate()
        return await self.ended()

    def send(self, how: signal.Signals) -> None:
        self.process.send_signal(how)

    def close(self) -> None:
        """Leave no process behind."""
        if self.is_running:
            self.kill()


class Cluster:
    """A WeChat, and servers that share one database."""

    def __init__(self, folder: Path, database_url: str, redis_url: str = "") -> None:
        self.folder = folder
        self.database_url = database_url
        self.wechat = WeChat()
        self.nodes: list[Node] = []
        # What else has to be ended, before the servers are.
        self.at_end: list[Callable[[], Awaitable[None]]] = []
        self._redis_url = redis_url
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
        self.http = httpx.AsyncClient(timeout=30, trust_env=False, limits=limits)

    async def __aenter__(self) -> Self:
        await self.wechat.start()
        self.given = settings(self.wechat, self.database_url, self.folder, self._redis_url)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for end in self.at_end:
            await end()
        for node in self.nodes:
            node.close()
            if error is not None:
                error.add_note(f"server on {node.port}:\n{node.output[-4000:]}")
        await self.http.aclose()
        await self.wechat.stop()

    def node(self, **more: str) -> Node:
        """Another server, not started yet."""
        made = Node({**self.given, **more}, self.folder)
        self.nodes.append(made)
        return made

    async def serve(self, count: int = 1, **more: str) -> list[Node]:
        """So many servers, started one after another."""
        started = [self.node(**more) for _ in range(count)]
        for node in started:
            await node.start()
        return started


async def until(
    holds: Callable[[], Awaitable[T]], node: Node | None = None, *, within_s: float = PATIENCE_S
) -> T:
    """Ask until the answer is true; the answer."""
    deadline = time.monotonic() + within_s
    while not (answer := await holds()):
        if node is not None and not node.is_running:
            raise AssertionError(f"the server ended with {node.process.returncode}: {node.output}")
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {holds}")
        await asyncio.sleep(POLL_S)
    return answer


async def all_of(work: Iterable[Awaitable[T]]) -> list[T]:
    return list(await asyncio.gather(*work))
