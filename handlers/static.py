"""The pages: files of web/ and uploaded pictures, each folder with the policy its pages need.

Tornado's StaticFileHandler finds, checks and sends the files (it stays inside the folder, answers
304 and ranges); this module adds types, policies, cache times and our form of refusal.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from tornado.httputil import HTTPHeaders
from tornado.routing import Rule
from tornado.web import Application, HTTPError, RedirectHandler, RequestHandler, StaticFileHandler

from handlers.address import TrustedProxies, masked
from handlers.answers import PROBLEM_JSON, SECURITY_HEADERS
from handlers.errors import Problem
from handlers.http import request_ids
from handlers.wire import encode

log = structlog.get_logger(__name__)

# The system's own table differs from machine to machine, and a script of a wrong type is not run.
TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}

# `name.js?v=…` and what Vite puts under assets/ are named after their content: they never change.
FOR_EVER: Final = "public, max-age=31536000, immutable"
ASK_FIRST: Final = "no-cache"

PICTURE: Final = r"/media/([A-Za-z0-9_/-]{1,200}\.(?:png|jpg|webp))"
SWAGGER_FILES: Final = r"/docs/(swagger-ui-bundle\.js|swagger-ui\.css)"


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of pages. policy: its Content-Security-Policy."""

    name: str
    policy: str
    may_be_framed: bool = False


def page_rules(web: Path, *, base_url: str, media: Path | None = None) -> list[Any]:
    """Rules for a tornado.web.Application: all pages, the API's documents, uploaded pictures."""
    policy = page_policy(base_url)
    rules: list[Any] = [
        (SWAGGER_FILES, PageFile, {"path": str(swagger_folder()), "folder": _docs(policy)}),
        (r"/()", PageFile, _files(web, Folder("home", policy))),
        # The file handler's own redirect would lose the query, and a sign-in code with it.
        (r"/h5/renew", ToFolder, {"url": "/h5/renew/"}),
        (r"/h5/cabinet", ToFolder, {"url": "/h5/cabinet/"}),
    ]
    for folder in (
        Folder("home", policy),
        Folder("console", _with(policy, "style-src 'self' 'unsafe-inline'")),
        Folder("h5", _with(policy, "style-src 'self' 'unsafe-inline'")),
        # A board hangs on a wall, perhaps within the page of somebody's display software.
        Folder("board", policy.replace("; frame-ancestors 'none'", ""), may_be_framed=True),
        _docs(policy),
    ):
        rules += [
            (rf"/{folder.name}", ToFolder, {"url": f"/{folder.name}/"}),
            (rf"/{folder.name}/(.*)", PageFile, _files(web, folder)),
        ]
    if media is not None:
        pictures = Folder("media", "default-src 'none'; sandbox")
        rules.append((PICTURE, PageFile, {"path": str(media), "folder": pictures}))
    return rules


def page_policy(base_url: str) -> str:
    """Everything from here, nothing inline. Older Safari does not count ws: as 'self', so the
    socket's address is named."""
    url = urlsplit(base_url)
    socket = f"{'wss' if url.scheme == 'https' else 'ws'}://{url.netloc}"
    return (
        f"default-src 'self'; connect-src 'self' {socket}; img-src 'self' data: blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def application(
    rules: Sequence[Rule | Any],
    *,
    proxies: TrustedProxies | None = None,
    access_log: bool = True,
    **settings: Any,
) -> Application:
    """The application that answers what has no route: pages, sockets, and 404 for the rest."""
    known = proxies or TrustedProxies()
    return Application(
        list(rules),
        default_handler_class=Nothing,
        log_function=(lambda handler: _tell(handler, known)) if access_log else _say_nothing,
        **settings,
    )


class PageHandler(RequestHandler):
    """What all answers of this application have in common."""

    new_request_id: Callable[[HTTPHeaders], str] = staticmethod(request_ids())
    request_id = ""

    def set_default_headers(self) -> None:
        # Called again when an answer is begun anew as a refusal.
        self.request_id = self.request_id or self.new_request_id(self.request.headers)
        self.clear_header("Server")
        for name, value in SECURITY_HEADERS:
            self.set_header(name, value)
        self.set_header("X-Request-Id", self.request_id)
        self.set_header("Cache-Control", "no-store")

    def write_error(self, status_code: int, **_: Any) -> None:
        # What lies outside a folder is not there, as far as anybody outside is concerned.
        status = 404 if status_code == 403 else status_code
        code = {404: "not_found", 405: "method.not_allowed"}.get(status, f"http.{status}")
        self.set_status(status)
        self.set_header("Content-Type", PROBLEM_JSON)
        if status == 405:
            self.set_header("Allow", "GET, HEAD")
        self.finish(encode(Problem(status, code).body(self.request_id)))

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        # A refusal is no warning: the access log has its status, and anybody can cause one.
        if not isinstance(value, HTTPError):
            log.error("request failed", request_id=self.request_id, exc_info=value)


class Nothing(PageHandler):
    """What is asked when no rule fits."""

    def prepare(self) -> None:
        raise HTTPError(404)


class ToFolder(PageHandler, RedirectHandler):
    """`/board?stall=7` → `/board/?stall=7`."""


class PageFile(PageHandler, StaticFileHandler):
    """A file of a folder."""

    def initialize(self, path: str, folder: Folder, default_filename: str | None = None) -> None:  # type: ignore[override]
        super().initialize(path, default_filename)
        self.folder = folder

    async def get(self, path: str, include_body: bool = True) -> None:
        if not _is_plain(path):
            raise HTTPError(404)
        await super().get(path, include_body)

    def set_extra_headers(self, path: str) -> None:
        self.set_header("Content-Security-Policy", self.folder.policy)
        if self.folder.may_be_framed:
            self.clear_header("X-Frame-Options")
        is_named_after_content = "v" in self.request.arguments or path.startswith("assets/")
        self.set_header("Cache-Control", FOR_EVER if is_named_after_content else ASK_FIRST)
        self.clear_header("Expires")

    def get_content_type(self) -> str:
        suffix = PurePosixPath(self.absolute_path or "").suffix.lower()
        return TYPES.get(suffix, "application/octet-stream")


def swagger_folder() -> Path:
    """Where the installed Swagger UI has its files. The package itself is not imported."""
    spec = importlib.util.find_spec("swagger_ui")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "static"


def _docs(policy: str) -> Folder:
    return Folder("docs", policy)


def _files(web: Path, folder: Folder) -> Mapping[str, Any]:
    return {"path": str(web / folder.name), "folder": folder, "default_filename": "index.html"}


def _with(policy: str, directive: str) -> str:
    return f"{policy}; {directive}"


def _is_plain(path: str) -> bool:
    """Whether a path can be a file of ours: no NUL, no backslash, no hidden or endless name."""
    parts = path.split("/")
    return (
        len(path) <= 512
        and "\0" not in path
        and "\\" not in path
        and not any(part.startswith(".") or len(part) > 200 for part in parts)
    )


def _tell(handler: RequestHandler, proxies: TrustedProxies) -> None:
    request = handler.request
    log.info(
        "request",
        method=request.method,
        route=type(handler).__name__,
        status=handler.get_status(),
        took_ms=round(request.request_time() * 1000, 1),
        address=masked(proxies.client(request.remote_ip or "", request.headers)),
        request_id=getattr(handler, "request_id", "-"),
    )


def _say_nothing(_: RequestHandler) -> None: ...
