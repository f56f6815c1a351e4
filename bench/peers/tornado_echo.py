"""Bare Tornado: what our server would be if it did nothing.

A POST is answered with its own body; a frame on /echo comes back; a frame on
/pub/TOPIC is written with write_message to everyone on /sub/TOPIC.
"""

import asyncio
import sys
from collections import defaultdict

from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

subscribers: defaultdict[str, set[WebSocketHandler]] = defaultdict(set)


class Echo(RequestHandler):
    def post(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(self.request.body)


class EchoSocket(WebSocketHandler):
    def open(self) -> None:
        self.set_nodelay(True)

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message)


class Subscriber(WebSocketHandler):
    def open(self, topic: str) -> None:
        # Nagle's wait would flatter the throughput here and spoil the latency.
        self.set_nodelay(True)
        self.topic = topic
        subscribers[topic].add(self)

    def on_message(self, message: str | bytes) -> None:
        """Subscribers only listen."""

    def on_close(self) -> None:
        subscribers[self.topic].discard(self)


class Publisher(WebSocketHandler):
    def open(self, topic: str) -> None:
        self.topic = topic

    def on_message(self, message: str | bytes) -> None:
        for subscriber in list(subscribers[self.topic]):
            try:
                subscriber.write_message(message)
            except WebSocketClosedError:
                subscribers[self.topic].discard(subscriber)


async def main(port: int) -> None:
    routes = [
        (r"/", Echo),
        (r"/echo", EchoSocket),
        (r"/sub/(\w+)", Subscriber),
        (r"/pub/(\w+)", Publisher),
    ]
    server = HTTPServer(Application(routes))
    server.listen(port, "127.0.0.1", backlog=4096)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
