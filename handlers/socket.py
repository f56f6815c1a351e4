"""`/api/v1/ws`: the WebSocket of the mini-programs, pages and boards."""

from tornado.web import RequestHandler

from handlers import cookies
from handlers.answers import PROBLEM_JSON
from handlers.connection import Connection, Desk
from handlers.errors import Problem
from handlers.transport import Owner, Transport
from handlers.upgrade import Door, upgrade
from handlers.wire import encode


class LiveSocket(RequestHandler):
    """Route: `(r"/api/v1/ws", LiveSocket, {"desk": desk, "door": door})`."""

    def initialize(self, desk: Desk, door: Door) -> None:
        self.desk = desk
        self.door = door

    async def get(self) -> None:
        try:
            await upgrade(self, self.door, self.owner, connections=len(self.desk.hub.clients))
        except Problem as problem:
            self._refuse(problem)

    def owner(self, transport: Transport) -> Owner:
        """Who the connection belongs to once it is made."""
        token = cookies.session_token(self.request.headers.get("Cookie", ""))
        return Connection(self.desk, transport, address=self.address, token=token)

    @property
    def address(self) -> str:
        """The client's, with trusted proxies taken away."""
        return self.desk.proxies.client(self.request.remote_ip or "", self.request.headers)

    def _refuse(self, problem: Problem) -> None:
        self.set_status(problem.status)
        for name, value in problem.headers.items():
            self.set_header(name, value)
        self.set_header("Content-Type", PROBLEM_JSON)
        self.finish(encode(problem.body("")))
