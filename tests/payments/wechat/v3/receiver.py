"""A door for notifications, as the server's own will be: verified, kept, answered by status."""

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from payments.wechat.errors import BadMessage
from payments.wechat.notices_v3 import ACK_STATUS, Notice, NoticeReader, nack


class Receiver:
    """told: the notifications that were believed; refused: why others were not, by its type."""

    def __init__(self, reader: NoticeReader) -> None:
        self.reader = reader
        self.told: list[Notice] = []
        self.refused: list[str] = []
        self.url = ""

    def start(self) -> None:
        self._server = HTTPServer(Application([("/notify", _Door, {"receiver": self})]))
        sockets = bind_sockets(0, "127.0.0.1")
        self._server.add_sockets(sockets)
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/notify"

    async def stop(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()


class _Door(RequestHandler):
    def initialize(self, receiver: Receiver) -> None:
        self.receiver = receiver

    async def post(self) -> None:
        try:
            notice = await self.receiver.reader.read(self.request.headers, self.request.body)
        except BadMessage as error:
            self.receiver.refused.append(type(error).__name__)
            # Written by hand: of a status from 400 on, Tornado writes a line into the log.
            body = nack(str(error))
            line = f"HTTP/1.1 500 X\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            self.detach().write(line + body)
            return
        self.receiver.told.append(notice)
        self.set_status(ACK_STATUS)
