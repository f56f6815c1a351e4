"""Who takes part: how each is started, and how one subscribes and publishes there."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from bench import generator
from bench.machine import BUILD
from bench.process import NotInstalled, Process, StartFailed, program

PEERS = Path(__file__).resolve().parent / "peers"

# The same event, byte for byte, that our server sends for a recall; only the seq changes.
MESSAGE = (
    '{{"type":"event","topic":"stall:{topic}","epoch":"0123456789abcdef","seq":@seq@,'
    '"name":"ticket.recalled","at":"2026-11-20T04:05:06.789Z","data":{{"ticket_id":51539607612,'
    '"number":39,"status":"called","calls":3,"issued_at":"2026-11-20T04:01:07.123Z",'
    '"called_at":"2026-11-20T04:05:06.789Z"}}}}'
)


class Contender(Protocol):
    """A server that many can listen to."""

    name: str
    process: Process

    def start(self) -> None:
        """Raises NotInstalled, StartFailed."""

    def stop(self) -> None: ...

    def subscribers(self, topics: int, count: int) -> list[str]:
        """Plan lines of `count` subscribers, spread evenly over the topics."""

    def publishers(self, topics: int) -> list[str]:
        """Plan lines of those who publish on these topics."""


class _Peer:
    name = ""

    def __init__(self) -> None:
        self.process = Process(self.name.replace(" ", "-"))

    def stop(self) -> None:
        self.process.stop()

    def subscribers(self, topics: int, count: int) -> list[str]:
        del count  # One line a topic is enough: lines are used in turn.
        return [generator.line(path=f"/sub/t{n}", topic=n) for n in range(topics)]

    def publishers(self, topics: int) -> list[str]:
        return [
            generator.line(
                path=f"/pub/t{n}", topic=n, replied="no", publish=MESSAGE.format(topic=n)
            )
            for n in range(topics)
        ]


class BareTornado(_Peer):
    """Tornado with nothing behind it; also the HTTP echo that P1, P2, P3 and P10 refer to."""

    name = "bare Tornado"

    def start(self) -> None:
        script = str(PEERS / "tornado_echo.py")
        self.process.spawn([sys.executable, script, str(self.process.port)])
        self.process.await_port()


class NodeWs(_Peer):
    """The ws package on Node, installed from its lock file beside the other built things."""

    name = "node ws"

    def start(self) -> None:
        node = program("node")
        self.process.spawn([node, str(_installed_node() / "server.js"), str(self.process.port)])
        self.process.await_port()


class Nchan(_Peer):
    """nginx with Nchan: subscribers on WebSockets, publishers on HTTP."""

    name = "nginx Nchan"
    MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules")

    def __init__(self) -> None:
        super().__init__()
        self._folder = ""

    def start(self) -> None:
        nginx = program("nginx")
        self._folder = self._folder or tempfile.mkdtemp(dir=BUILD, prefix="nchan-")
        config = Path(self._folder) / "nginx.conf"
        config.write_text(self._config())
        self.process.spawn([nginx, "-e", "stderr", "-p", self._folder, "-c", str(config)])
        self.process.await_port()

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def publishers(self, topics: int) -> list[str]:
        return [
            generator.line(wire="http", path=f"/pub/t{n}", topic=n, publish=MESSAGE.format(topic=n))
            for n in range(topics)
        ]

    def _config(self) -> str:
        module = next(
            (f"{folder}/ngx_nchan_module.so" for folder in self.MODULES if _has_nchan(folder)), None
        )
        if module is None:
            raise NotInstalled("libnginx-mod-nchan")
        values = {
            "load_module": f"load_module {module};",
            "folder": self._folder,
            "port": str(self.process.port),
            # Only a master that is root may say who its worker is.
            "user": "user root;" if os.geteuid() == 0 else "",
        }
        text = (PEERS / "nchan.conf").read_text()
        for name, value in values.items():
            text = text.replace("{{" + name + "}}", value)
        return text


def _has_nchan(folder: str) -> bool:
    return (Path(folder) / "ngx_nchan_module.so").exists()


def _installed_node() -> Path:
    """The node peer with its one package, made by `npm ci` in the folder of built things."""
    folder = BUILD / "node"
    shutil.copytree(
        PEERS / "node", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules")
    )
    if not (folder / "node_modules" / "ws").exists():
        command = [program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotInstalled("the npm package ws")
    return folder


@contextmanager
def running(
    makers: list[Callable[[], Contender]],
) -> Iterator[tuple[list[Contender], dict[str, str]]]:
    """Start all that can be started: (those that run, why the others do not, by name)."""
    present: list[Contender] = []
    absent: dict[str, str] = {}
    try:
        for make in makers:
            contender = make()
            try:
                present.append(contender)
                contender.start()
            except NotInstalled:
                absent[contender.name] = "not installed"
            except StartFailed as failure:
                absent[contender.name] = f"did not start: {str(failure)[-200:]}"
        yield [one for one in present if one.name not in absent], absent
    finally:
        for contender in present:
            contender.stop()
