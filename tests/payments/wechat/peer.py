"""Something in WeChat Pay's place that says what a test tells it to."""

import ssl

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.netutil import bind_sockets

from tests.payments.wechat import speech


class Peer:
    """Answers each request with the next of `answers`, or hangs up; keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[bytes | None] = []
        self.requests: list[HTTPServerRequest] = []
        # Whether each of them came with a certificate.
        self.certified: list[bool] = []
        self.md5 = False
        self.url = ""

    def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = HTTPServer(self._answer, ssl_options=tls)
        sockets = bind_sockets(0, "127.0.0.1")
        self._server.add_sockets(sockets)
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()

    @property
    def asked(self) -> list[tuple[str, dict[str, str]]]:
        return [(request.path, speech.fields_of(request.body)) for request in self.requests]

    def says(self, **fields: str) -> None:
        """A signed answer of success, with these fields; "" takes one away."""
        common = {
            "return_code": "SUCCESS",
            "return_msg": "OK",
            "appid": speech.APPID,
            "mch_id": speech.MCH_ID,
            "nonce_str": "IITRi8Iabbblz1Jc",
            "result_code": "SUCCESS",
        }
        given = {name: value for name, value in (common | fields).items() if value}
        self.says_body(speech.xml(speech.signed(given, md5=self.md5)))

    def refuses(self, err_code: str, err_code_des: str = "") -> None:
        self.says(result_code="FAIL", err_code=err_code, err_code_des=err_code_des)

    def says_body(self, body: bytes, *, status: str = "200 OK", headers: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.answers.append(head.encode() + body)

    def hangs_up(self) -> None:
        self.answers.append(None)

    def keeps_silent(self) -> None:
        self.answers.append(b"")

    def _answer(self, request: HTTPServerRequest) -> None:
        self.requests.append(request)
        if self.url.startswith("https"):
            self.certified.append(bool(request.get_ssl_certificate()))
        connection = request.connection
        assert connection is not None
        answer = self.answers.pop(0)
        if answer == b"":
            return
        stream = connection.detach()  # type: ignore[attr-defined]
        if answer is None:
            stream.close()
            return
        stream.write(answer).add_done_callback(lambda _: stream.close())
