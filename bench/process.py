"""Server processes of ours: started on their core, ended by their number."""

import http.client
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping

from bench.machine import BUILD, ROOT, SERVER_CORE, pinned
from tests.servers import free_port

START_TIMEOUT_S = 30.0


class NotInstalled(Exception):
    """A program that a peer needs is not there."""


class StartFailed(Exception):
    """A server ended, or did not answer in time."""


class Process:
    """One server process and its log."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = free_port()
        self._popen: subprocess.Popen[bytes] | None = None
        BUILD.mkdir(parents=True, exist_ok=True)
        self.log = BUILD / f"{name}.log"

    @property
    def pid(self) -> int:
        if self._popen is None:
            raise StartFailed(f"{self.name} has not been started")
        return self._popen.pid

    def spawn(
        self,
        command: list[str],
        environment: Mapping[str, str] | None = None,
        *,
        core: int = SERVER_CORE,
    ) -> None:
        """Start it, and do not wait for anything."""
        with self.log.open("wb") as log:
            self._popen = subprocess.Popen(
                pinned(core, command),
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def await_port(self) -> None:
        """Wait until somebody listens."""
        self._await(lambda: answers(self.port))

    def await_status(self, path: str) -> None:
        """Wait until a GET of path answers 200."""
        self._await(lambda: status_of(self.port, path) == 200)

    def _await(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ready():
            if self._popen is None or self._popen.poll() is not None:
                raise StartFailed(f"{self.name} ended: {self.last_words()}")
            if time.monotonic() > deadline:
                raise StartFailed(f"{self.name} does not answer: {self.last_words()}")
            time.sleep(0.01)

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2000:].strip()

    def stop(self) -> None:
        """Ask it to end, and wait. May be repeated."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._popen is None or self._popen.poll() is not None:
            return
        self._popen.send_signal(how)
        try:
            self._popen.wait(20)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(20)


def program(name: str) -> str:
    """The path of an installed program. Raises NotInstalled."""
    for folder in ("", "/usr/sbin/", "/usr/local/sbin/"):
        found = shutil.which(folder + name)
        if found:
            return found
    raise NotInstalled(name)


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def status_of(port: int, path: str) -> int:
    """The status of a GET; 0 when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
