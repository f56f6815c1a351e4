"""Pages and pictures: the right type and policy, and nothing from outside their folders."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import structlog

from handlers.static import PageHandler, application, page_policy, page_rules, swagger_folder
from tests.handlers.toys import Server, serving
from tests.logs import LogWatch

BASE = "https://callme.example"


@pytest.fixture
def web(tmp_path: Path) -> Path:
    web = tmp_path / "web"
    for name in ("home", "board", "console", "h5", "docs"):
        (web / name).mkdir(parents=True)
        (web / name / "index.html").write_text(f"<p>{name}")
    (web / "board" / "board.js").write_text("let a")
    (web / "console" / "assets").mkdir()
    (web / "console" / "assets" / "x-1a2b.js").write_text("let b")
    (web / "board" / ".secret").write_text("s3cret")
    (tmp_path / "secret.txt").write_text("s3cret")
    (tmp_path / "boardroom").mkdir()
    (web / "board" / "out.txt").symlink_to(tmp_path / "secret.txt")
    media = tmp_path / "media" / "goods"
    media.mkdir(parents=True)
    (media / "1.png").write_bytes(b"\x89PNG")
    (media / "1.svg").write_text("<svg/>")
    return web


@pytest.fixture
async def server(web: Path) -> AsyncIterator[Server]:
    rules = page_rules(web, base_url=BASE, media=web.parent / "media")
    async with serving(fallback=application(rules, access_log=False)) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/", "<p>home"), ("/home/", "<p>home"), ("/board/", "<p>board"), ("/docs/", "<p>docs"),
        ("/board/?stall=7", "<p>board"), ("/console/index.html", "<p>console"), ("/h5/", "<p>h5"),
    ],
)  # fmt: skip
async def test_each_page_is_at_its_address(server: Server, path: str, text: str) -> None:
    reply = await server.ask("GET", path)

    assert (reply.status, reply.body.decode()) == (200, text)
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert reply.headers["Cache-Control"] == "no-cache"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in reply.headers
    assert "X-Request-Id" in reply.headers


async def test_an_address_without_its_slash_leads_to_the_one_with_it(server: Server) -> None:
    reply = await server.ask("GET", "/board?stall=7")

    assert (reply.status, reply.headers["Location"]) == (301, "/board/?stall=7")
    assert "Server" not in reply.headers


async def test_pages_run_only_what_is_theirs(server: Server) -> None:
    home = await server.ask("GET", "/")
    board = await server.ask("GET", "/board/")

    assert home.headers["Content-Security-Policy"] == page_policy(BASE)
    assert "connect-src 'self' wss://callme.example;" in page_policy(BASE)
    assert "unsafe" not in page_policy(BASE)
    assert "ws://127.0.0.1:8000;" in page_policy("http://127.0.0.1:8000")
    assert home.headers["X-Frame-Options"] == "DENY"
    assert "X-Frame-Options" not in board.headers
    assert "frame-ancestors" not in board.headers["Content-Security-Policy"]


async def test_a_file_that_never_changes_is_kept_for_ever(server: Server) -> None:
    stamped = await server.ask("GET", "/board/board.js?v=1a2b")
    plain = await server.ask("GET", "/board/board.js")
    built = await server.ask("GET", "/console/assets/x-1a2b.js")

    assert stamped.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert stamped.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert built.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert plain.headers["Cache-Control"] == "no-cache"


async def test_what_the_browser_has_is_not_sent_again(server: Server) -> None:
    first = await server.ask("GET", "/board/board.js")

    for header, name in (("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified")):
        again = await server.ask("GET", "/board/board.js", headers={header: first.headers[name]})
        assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/board/../../secret.txt", "/board/..%2f..%2fsecret.txt", "/board/%2e%2e/secret.txt",
        "/board/....//secret.txt", "/board//etc/passwd", "/board/%2fetc/passwd", "/board/.secret",
        "/board/out.txt", "/board/x%00.js", "/board/" + "x" * 3000, "/board/a/" + "x" * 300,
        "/board/..%5c..%5csecret.txt", "//evil.example", "//evil.example/board", "/boardroom/",
        "/board/nothing.js", "/board/voice", "/../secret.txt", "/docs/swagger-ui.js",
        "/docs/LICENSE", "/media/goods/1.svg", "/media/../secret.txt", "/media/goods/", "/web/",
        "/board/%ff", "/nothing",
    ],
)  # fmt: skip
async def test_nothing_outside_a_folder_is_reached(server: Server, path: str) -> None:
    reply = await server.ask("GET", path)

    assert reply.status in (400, 404)
    assert b"s3cret" not in reply.body
    assert "Location" not in reply.headers
    if reply.status == 404:
        assert reply.code == "not_found"


async def test_pages_are_only_looked_at(server: Server) -> None:
    reply = await server.ask("POST", "/board/", b"{}")

    assert (reply.status, reply.code) == (405, "method.not_allowed")
    assert reply.headers["Allow"] == "GET, HEAD"


async def test_a_client_may_leave_in_the_middle_of_what_nobody_wants(server: Server) -> None:
    half = b"POST /board/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"

    assert await server.exchange(half, then_leave=True) == b""
    assert (await server.ask("GET", "/board/")).status == 200


async def test_a_post_to_the_top_is_a_route_and_a_get_is_a_page(server: Server) -> None:
    posted = await server.ask("POST", "/", b"query=Q01")
    looked = await server.ask("HEAD", "/")

    assert (posted.status, posted.body) == (200, b"query=Q01")
    assert (looked.status, looked.headers["Content-Length"]) == (200, "7")


async def test_a_picture_is_a_picture_whatever_it_contains(server: Server) -> None:
    reply = await server.ask("GET", "/media/goods/1.png")

    assert (reply.status, reply.headers["Content-Type"]) == (200, "image/png")
    assert reply.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


async def test_swagger_ui_comes_from_its_package(server: Server) -> None:
    script = await server.ask("GET", "/docs/swagger-ui-bundle.js")

    assert script.status == 200
    assert script.body == (swagger_folder() / "swagger-ui-bundle.js").read_bytes()


async def test_without_pictures_and_pages_there_is_nothing(tmp_path: Path) -> None:
    rules = page_rules(tmp_path, base_url=BASE)
    async with serving(fallback=application(rules, access_log=False)) as server:
        assert (await server.ask("GET", "/")).code == "not_found"
        assert (await server.ask("GET", "/media/goods/1.png")).code == "not_found"
        assert (await server.ask("GET", "/api/v1/nothing")).code == "not_found"
        assert (await server.ask("PUT", "/api/v1/toys/7", b"{}")).code == "method.not_allowed"


async def test_our_own_mistake_is_logged_with_its_id(
    web: Path, expect_log: Callable[[str], None], log_watch: LogWatch
) -> None:
    class Broken(PageHandler):
        def get(self) -> None:
            raise ZeroDivisionError("a secret")

    expect_log("request failed")
    async with serving(fallback=application([("/broken", Broken)], access_log=False)) as server:
        reply = await server.ask("GET", "/broken", headers={"X-Request-Id": "r-1"})

    assert (reply.status, reply.code) == (500, "http.500")
    assert b"secret" not in reply.body
    (line,) = log_watch.lines
    assert "r-1" in line


async def test_the_log_tells_pages_without_their_queries(web: Path) -> None:
    rules = page_rules(web, base_url=BASE)
    async with serving(fallback=application(rules)) as server:
        with structlog.testing.capture_logs() as lines:
            await server.ask("GET", "/board/?token=s3cret", headers={"X-Request-Id": "r-1"})

    (line,) = lines
    assert (line["route"], line["status"], line["request_id"]) == ("PageFile", 200, "r-1")
    assert "s3cret" not in str(line)


@pytest.mark.browser
async def test_the_api_page_shows_the_document_within_its_policy() -> None:
    """Chromium itself says whether a policy is broken, and that the document could be drawn."""
    from playwright.async_api import async_playwright

    rules = page_rules(Path(__file__).parents[2] / "web", base_url=BASE)
    complaints: list[str] = []
    async with (
        serving(fallback=application(rules, access_log=False)) as server,
        async_playwright() as driver,
    ):
        browser = await driver.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = await browser.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(f"http://127.0.0.1:{server.port}/docs/")
        await page.click("#operations-tag-toys >> nth=0")
        await page.click("text=Make a toy.")
        await page.wait_for_selector("text=Idempotency-Key")
        await browser.close()

    assert complaints == []
