"""Stories: what several clients say to one server and hear from it, as files in tests/wire/.

A story is a list of steps:

    {"who": "seller", "says": {…}}      a frame of the new protocol's or the old dialect's socket
    {"who": "seller", "hears": {…}}     the frame that comes
    {"who": "seller", "asks": "POST /api/v1/…", "headers": {…}, "body": {…},
     "status": 201, "etag": "…", "answer": {…}}
    {"who": "seller", "asks": "GET /api/v1/…", "status": 200, "type": "image/png"}
    {"who": "diner", "query": {…}, "answer": {…}}      the old dialect over HTTP
    {"who": "WeChat", "tells": "/notify/…", "xml": {…}, "status": 200, "answer": {…}}
    {"seconds": 3}                      time passes

What happens at a cabinet and on WeChat's own pages is told in steps of tests/street_stories.py.

`<token>` and `<key>` are those of who speaks; any other `<name>` is learned when it first comes and
must be the same from then on, except `<request_id>`, which is new each time, and `<sign>`, which
WeChat makes of what it tells. Among the tags of XML they are shown in square brackets.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from server.app import App
from simulators.wechat.pay.merchant import API_V2_KEY
from simulators.wechat.pay.signing import SignType, sign_v2
from tests import street_stories
from tests.clock import Clock
from tests.edge.web import Web
from tests.handlers.live import Client
from tests.payments.wechat.speech import fields_of
from tests.street_stories import Street, is_beside

WIRE = Path(__file__).parent / "wire"
PLACEHOLDER = re.compile(r"<([a-z_]+)>")
# Who speaks the old dialect on a socket.
OLD = "old "

Step = dict[str, Any]


def names() -> list[str]:
    return sorted(path.stem for path in WIRE.glob("*.json"))


def read(name: str) -> list[Step]:
    steps: list[Step] = json.loads((WIRE / f"{name}.json").read_text("utf-8"))
    return steps


class Stage:
    """One server, its people, and what placeholders mean so far."""

    def __init__(self, app: App, clock: Clock, street: Street | None = None) -> None:
        """street: with a cabinet on it, for the stories in which somebody shops."""
        self._app = app
        self._clock = clock
        self._street = street
        self._known: dict[str, str] = {}
        self._people: dict[str, dict[str, str]] = {}
        self._sockets: dict[str, Client] = {}
        self._early: dict[str, list[Any]] = {}

    async def play(self, steps: list[Step]) -> None:
        """Do every step. Raises AssertionError where something else is heard."""
        for step in steps:
            if self._street is not None and is_beside(step):
                await self._street.act(await self._filled("beside", step))
            elif "seconds" in step:
                self._clock.advance(seconds=step["seconds"])
                if self._street is not None:
                    await self._street.pass_by(step["seconds"])
            elif "asks" in step:
                await self._ask(step)
            elif "query" in step:
                await self._query(step)
            elif "tells" in step:
                await self._tell(step)
            else:
                await self._speak(step)
        left = {who: messages for who, messages in self._early.items() if messages}
        assert left == {}, "frames that the story does not tell of"

    def leave(self) -> None:
        for client in self._sockets.values():
            client.hang_up()

    # ------------------------------------------------------------ three ways to speak

    async def _ask(self, step: Step) -> None:
        who = step["who"]
        method, target = (await self._filled(who, step["asks"])).split(" ")
        headers = dict(await self._filled(who, step.get("headers", {})))
        async with Web(self._app.port) as web:
            answer = await web.ask(
                method,
                target,
                body=await self._filled(who, step.get("body")),
                headers=headers.items(),
                token=(await self._person(who)).get("token", ""),
            )
        if self._street is not None:
            await self._street.settle()
        if "type" in step:
            kind = {"status": answer.status, "type": answer.header("content-type")}
            self._compare(who, {name: step[name] for name in kind}, kind)
            return
        body = answer.json if answer.body else None
        heard = {"status": answer.status, "etag": answer.header("etag"), "answer": body}
        told = {"status": step["status"], "etag": step.get("etag", ""), "answer": step["answer"]}
        self._compare(who, told, heard if "etag" in step else {**heard, "etag": ""})

    async def _query(self, step: Step) -> None:
        who = step["who"]
        fields = {name: str(value) for name, value in step["query"].items()}
        form = urlencode(await self._filled(who, fields)).encode()
        head = [("Content-Type", "application/x-www-form-urlencoded")]
        async with Web(self._app.port) as web:
            answer = await web.ask("POST", "/", body=form, headers=head)
        self._compare(who, step["answer"], answer.json)

    async def _tell(self, step: Step) -> None:
        who = step["who"]
        fields: dict[str, str] = await self._filled(who, step["xml"])
        if fields["sign"] == "<sign>":
            # The phone's scan is signed with MD5, whatever orders are signed with.
            kind: SignType = "MD5" if "product_id" in fields else "HMAC-SHA256"
            fields["sign"] = sign_v2(fields, API_V2_KEY, kind)
        head = [("Content-Type", "text/xml; charset=utf-8")]
        async with Web(self._app.port) as web:
            answer = await web.ask("POST", step["tells"], body=_xml(fields).encode(), headers=head)
        heard = {"status": answer.status, "answer": fields_of(answer.body)}
        self._compare(who, {name: step[name] for name in heard}, heard)

    async def _speak(self, step: Step) -> None:
        who = step["who"]
        socket = await self._socket(who)
        if "says" in step:
            socket.send(**await self._filled(who, step["says"]))
            return
        early = self._early.setdefault(who, [])
        wanted = _address(step["hears"])
        while True:
            heard = next((message for message in early if _address(message) == wanted), None)
            if heard is not None:
                early.remove(heard)
                self._compare(who, step["hears"], heard)
                return
            early.append(await socket.message())

    async def _socket(self, who: str) -> Client:
        if who not in self._sockets:
            path = "/ws" if who.startswith(OLD) else "/api/v1/ws"
            self._sockets[who] = await Client.connect(self._app.port, path=path)
        return self._sockets[who]

    # ------------------------------------------------------------ who is who

    async def _person(self, who: str) -> Mapping[str, str]:
        """token and key; a board and a stranger have none."""
        name = who.removeprefix(OLD)
        if name not in self._people:
            self._people[name] = await self._sign_in(name)
        return self._people[name]

    async def _sign_in(self, name: str) -> dict[str, str]:
        app = name.split(maxsplit=1)[0]
        if app not in {"diner", "seller", "admin"}:
            return {}
        openid = f"openid-of-the-{name.replace(' ', '-')}"
        if app == "admin":
            openid = "admin-li" if name == app else name.replace(" ", "-")
        program = "diner" if app == "diner" else "seller"
        opened = await self._app.people.sign_in(program, f"sim:{openid}:story")  # type: ignore[arg-type]
        return {"token": opened.jwt, "key": opened.key_hex}

    # ------------------------------------------------------------ placeholders

    async def _filled(self, who: str, value: Any) -> Any:
        meaning = {**self._known, **await self._person(who)}
        return _replaced(value, meaning)

    def _compare(self, who: str, told: Any, heard: Any) -> None:
        self._learn(told, heard)
        own = self._people.get(who.removeprefix(OLD), {})
        assert _replaced(told, {**self._known, **own}) == heard, f"{who} heard {heard}"
        self._known.pop("request_id", None)

    def _learn(self, told: Any, heard: Any) -> None:
        """Take what placeholders stand for from what came."""
        if isinstance(told, dict) and isinstance(heard, dict):
            for name in told.keys() & heard.keys():
                self._learn(told[name], heard[name])
        elif isinstance(told, list) and isinstance(heard, list):
            for one, other in zip(told, heard, strict=False):
                self._learn(one, other)
        elif isinstance(told, str) and isinstance(heard, str):
            pattern = PLACEHOLDER.sub(r"(?P<\1>[\\w.-]+)", re.escape(told))
            found = re.fullmatch(pattern, heard)
            for name, text in found.groupdict().items() if found else ():
                self._known.setdefault(name, text)


def _replaced(value: Any, meaning: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _replaced(each, meaning) for name, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, meaning) for each in value]
    if isinstance(value, str):
        return PLACEHOLDER.sub(lambda found: meaning.get(found[1], found[0]), value)
    return value


def _address(message: Mapping[str, Any]) -> tuple[object, ...]:
    """Which frame it is: an answer has an id, an event its place, an old answer its name."""
    return tuple(message.get(name) for name in ("type", "id", "topic", "seq", "push"))


# ---------------------------------------------------------------- as the document shows it


def as_text(steps: list[Step]) -> str:
    return "\n".join(line for step in steps for line in _lines(step))


def _lines(step: Step) -> list[str]:
    if is_beside(step):
        return ["", street_stories.line(step), ""]
    if "seconds" in step:
        return ["", f"({step['seconds']} seconds later)", ""]
    who = step["who"]
    if "says" in step:
        return [f"{who} → {_json(step['says'])}"]
    if "hears" in step:
        return [f"{who} ← {_json(step['hears'])}"]
    if "query" in step:
        form = "&".join(f"{name}={value}" for name, value in step["query"].items())
        return [f"{who} → {form}", f"{who} ← {_json(step['answer'])}"]
    if "tells" in step:
        told = [f"{who} → POST {step['tells']}", f"         {_shown(step['xml'])}"]
        return [*told, f"{who} ← {step['status']} {_shown(step['answer'])}"]
    asked = [f"{who} → {step['asks']}"]
    asked += [f"         {name}: {value}" for name, value in step.get("headers", {}).items()]
    asked += [f"         {_json(step['body'])}"] if "body" in step else []
    if "type" in step:
        return [*asked, f"{who} ← {step['status']} {step['type']}"]
    answered = f"{who} ← {step['status']}"
    answered += f" ETag: {step['etag']}" if "etag" in step else ""
    return [*asked, answered + (f" {_json(step['answer'])}" if step["answer"] is not None else "")]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _xml(fields: Mapping[str, str]) -> str:
    return f"<xml>{''.join(f'<{name}>{value}</{name}>' for name, value in fields.items())}</xml>"


def _shown(fields: Mapping[str, str]) -> str:
    return _xml({name: PLACEHOLDER.sub(r"[\1]", value) for name, value in fields.items()})
