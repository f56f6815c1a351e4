"""Our server as a contender: a process of `run.py serve` on a seeded database."""

import http.client
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from bench import generator, orders
from bench.machine import BUILD, ROOT
from bench.process import NotInstalled, Process, StartFailed
from bench.results import OURS
from bench.seed import Login, Seeded, SeededStall, Sizes, seed

SECRET = "a secret of the benchmarks, of no use to anyone else"
SOCKET = "/api/v1/ws"
NOTICES = "/notify/wechatpay/v2/pay"
# One topic is published on by several devices of its seller: acts on one connection are done
# one after another, and each would wait for the commit of the one before.
DEVICES_ON_ONE_TOPIC = 8


class Callme:
    """run.py serve, with SQLite unless another database is named."""

    def __init__(
        self,
        name: str = OURS,
        *,
        url: str = "",
        stalls: int = 100,
        sellers_each: int = 8,
        diners: int = 0,
        orders: int = 0,
        month_orders: int = 0,
    ) -> None:
        self.name = name
        self.process = Process(name.replace(" ", "-"))
        self._url = url
        self._sizes = Sizes(
            stalls=stalls,
            sellers_each=sellers_each,
            diners=diners,
            orders=orders,
            month_orders=month_orders,
        )
        self._folder: Path | None = None
        self._seeded: Seeded | None = None
        self._called: dict[int, int] = {}

    @property
    def seeded(self) -> Seeded:
        assert self._seeded is not None
        return self._seeded

    @property
    def path(self) -> str:
        """Of the SQLite file, where no other database is named."""
        return f"{self._folder}/callme.db"

    @property
    def url(self) -> str:
        return self._url or f"sqlite:///{self.path}"

    def prepare(self) -> None:
        """Make the database and fill it; `start` does that by itself."""
        if not (ROOT / "run.py").exists():
            raise NotInstalled("run.py")
        BUILD.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(dir=BUILD, prefix="data-"))
        self._seeded = seed(self.url, SECRET, self._sizes)

    def start(self) -> None:
        if self._seeded is None:
            self.prepare()
        self.spawn()
        self.process.await_status("/readyz")

    def spawn(self) -> None:
        self.process.spawn([sys.executable, "run.py", "serve"], self._environment())

    def stop(self) -> None:
        self.process.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if "CALLME_" not in name}
        return kept | {
            "CALLME_SERVER__PORT": str(self.process.port),
            "CALLME_SERVER__BASE_URL": f"http://127.0.0.1:{self.process.port}",
            "CALLME_SERVER__SECRET": SECRET,
            "CALLME_SERVER__MEDIA_DIR": f"{self._folder}/media",
            # As the peers, which write none either.
            "CALLME_SERVER__ACCESS_LOG": "false",
            "CALLME_DATABASE__URL": self.url,
            "CALLME_LIMITS__ENABLED": "false",
            # Nothing measured here asks WeChat; were it asked, nobody would answer.
            "CALLME_WECHAT__API_URL": "http://127.0.0.1:9",
            **orders.settings(),
        }

    # What the generator says here

    def subscribers(self, topics: int, count: int) -> list[str]:
        """Each connection is a diner of its own, signed in, at one of the stalls."""
        lines = []
        for number in range(count):
            topic = number % topics
            stall = self.seeded.stalls[topic]
            said = [
                _auth(self.seeded.diners[number]),
                f'{{"id":2,"type":"subscribe","topic":"stall:{stall.id}"@since@}}',
            ]
            lines.append(generator.line(path=SOCKET, greeted="yes", topic=topic, say=said))
        return lines

    def publishers(self, topics: int) -> list[str]:
        """A seller of each stall who calls the same number again and again."""
        lines = []
        for topic, stall in enumerate(self.seeded.stalls[:topics]):
            recall = f'{{"id":@id@,"type":"ticket.recall","ticket_id":{self._called_at(stall)}}}'
            devices = stall.sellers[:DEVICES_ON_ONE_TOPIC] if topics == 1 else stall.sellers[:1]
            lines += [
                generator.line(
                    path=SOCKET, greeted="yes", say=_auth(login), topic=topic, publish=recall
                )
                for login in devices
            ]
        return lines

    def takers(self, callers: int, stalls: int) -> list[str]:
        """Callers that take a number and finish it, over WebSocket."""
        issue = '{"id":@id@,"type":"ticket.issue","stall_id":@stall@,"key":"@nonce@"}'
        finish = '{"id":@id@,"type":"ticket.finish","ticket_id":@ticket@}'
        return [
            generator.line(
                path=SOCKET,
                greeted="yes",
                say=_auth(login),
                stall=stall.id,
                issue=issue,
                finish=finish,
            )
            for stall, login in self._callers(callers, stalls)
        ]

    def old_takers(self, callers: int, stalls: int) -> list[str]:
        """The same in the old dialect: forms posted to the root."""
        return [
            generator.line(
                wire="http",
                path="/",
                header="Content-Type: application/x-www-form-urlencoded",
                key=login.key,
                stall=stall.id,
                issue="query=fetch&sessionKey=@key@",
                finish="query=done&isseller=yes&sessionKey=@key@&marchSn=@number@",
            )
            for stall, login in self._callers(callers, stalls)
        ]

    def polls(self, stalls: int) -> list[str]:
        """Polls of queues by their sellers, who have seen the current state."""
        lines = []
        for stall in self.seeded.stalls[:stalls]:
            path = f"/api/v1/stalls/{stall.id}/queue"
            bearer = f"Authorization: Bearer {stall.sellers[0].token}"
            etag = self._ask("GET", path, stall.sellers[0])[1]
            lines.append(
                generator.line(
                    wire="http",
                    method="GET",
                    path=path,
                    header=[bearer, f"If-None-Match: {etag}"],
                )
            )
        return lines

    def notices(self, callers: int, count: int, *, months: bool) -> list[str]:
        """So many orders are paid: notices of those that were not yet told of, each once."""
        stock = self.seeded.month_orders if months else self.seeded.orders
        chosen = [stock.pop() for _ in range(count)]
        return [
            generator.line(
                wire="http",
                path=NOTICES,
                header="Content-Type: text/xml",
                expect="SUCCESS",
                body=[orders.notice(number) for number in chosen[caller::callers]],
            )
            for caller in range(callers)
        ]

    def metric(self, name: str) -> float | None:
        """The sum of a metric over its labels; None when there is none of that name."""
        connection = http.client.HTTPConnection("127.0.0.1", self.process.port, timeout=10)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        found = [
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith((f"{name} ", f"{name}{{"))
        ]
        return sum(found) if found else None

    def _callers(self, callers: int, stalls: int) -> list[tuple[SeededStall, Login]]:
        found = []
        for number in range(callers):
            stall = self.seeded.stalls[number % stalls]
            found.append((stall, stall.sellers[number // stalls]))
        return found

    def _called_at(self, stall: SeededStall) -> int:
        """The id of a ticket that has been called there."""
        if stall.id not in self._called:
            seller = stall.sellers[0]
            ticket = self._ask("POST", f"/api/v1/stalls/{stall.id}/tickets", seller)[0]
            self._ask("POST", f"/api/v1/tickets/{ticket['id']}/call", seller)
            self._called[stall.id] = ticket["id"]
        return self._called[stall.id]

    def _ask(self, method: str, path: str, login: Login) -> tuple[dict[str, int], str]:
        """One REST request: (the JSON of the answer, its ETag). Raises StartFailed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.process.port, timeout=10)
        headers = {"Authorization": f"Bearer {login.token}", "Content-Type": "application/json"}
        connection.request(method, path, body="{}" if method == "POST" else None, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status >= 300:
            raise StartFailed(f"{method} {path} answered {answer.status}: {body[:200]!r}")
        return json.loads(body), answer.getheader("ETag") or ""


def _auth(login: Login) -> str:
    return f'{{"id":1,"type":"auth","token":"{login.token}"}}'
