"""The demo's view of the simulator: a phone that pays, its messages, and the state beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tornado.web import RequestHandler

if TYPE_CHECKING:
    from simulators.wechat.sim import WeChat

# The page asks for the state every two seconds and writes texts only as text, never as markup.
HTML = Path(__file__).with_name("page.html").read_bytes()


class Page(RequestHandler):
    def initialize(self, sim: WeChat) -> None:
        self.sim = sim

    def get(self) -> None:
        self.set_header("X-Simulator", "wechat")
        self.finish(HTML)


HANDLERS: list[tuple[str, type[RequestHandler]]] = [(r"/", Page), (r"/scan", Page)]
