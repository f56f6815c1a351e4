"""The dialect of the original's clients: one address, `POST /`, and a query by name.

Answers are 200 with `<query>Success` and `failMsg`. Whatever the original read from its
database is a text, also when it is a number; only `marchSn` of fetch is an integer and only
`open` a boolean. The session is judged before anything is done: a refused request changes
nothing. Texts and fields are those of docs/protocol.md, "The old dialect".
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from accounts.model import (
    AccountBlocked,
    AccountsError,
    CodeRefused,
    Session,
    SessionExpired,
    WeChatUnavailable,
)
from accounts.service import People, Sessions
from handlers import signing_in
from handlers.actors import actor_of
from handlers.errors import TooManyRequests
from handlers.limits import Limit, Limits
from handlers.old_bodies import Fields
from handlers.rest_queue import guarded_numbers
from queueing.model import (
    Actor,
    InvalidNote,
    InvalidNumber,
    NotYourStall,
    NumberTaken,
    PoolExhausted,
    QueueError,
    Stall,
    StallClosed,
    StallDue,
    StallNotFound,
    Status,
    Ticket,
    TicketNotFound,
)
from queueing.service import Queues, number_of
from queueing.stalls.model import BadPicture, ClaimRefused, HasStall, PictureTooLarge
from queueing.stalls.service import Stalls

log = structlog.get_logger(__name__)

Answer = dict[str, Any]

ILLEGAL_QUERY: Final[Answer] = {"queryErr": "Illegal query"}
TIME_OUT: Final[Answer] = {"queryErr": "Session Time Out"}
TOO_MANY: Final[Answer] = {"queryErr": "Too Many Requests"}

TERM_MAX: Final = 36
NAME_MAX: Final = 100
DISHES_MAX: Final = 200
# What a TEXT column of MySQL holds, less what the list is written with.
MENU_MAX_BYTES: Final = 60_000
STALLS_MAX: Final = 10_000

# A push that comes again so soon after its number ended is a repeat of the old one, whose answer
# was lost: it must not bind whoever holds the number now.
LATE_PUSH_MS: Final = 10_000

# Control characters, line separators, and the marks that turn the direction of text.
_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class Refused(Exception):
    """A query that fails with a failMsg, and perhaps more fields."""

    def __init__(self, message: str, **more: Any) -> None:
        super().__init__(message)
        self.message = message
        self.more = more


class Dialect:
    """Carries out queries. sign_up: the limit on attempts to claim a stall, per account."""

    def __init__(
        self,
        *,
        people: People,
        sessions: Sessions,
        queues: Queues,
        stalls: Stalls,
        limits: Limits,
        sign_up: Limit,
        now: Callable[[], int],
    ) -> None:
        self._people = people
        self._sessions = sessions
        self._queues = queues
        self._stalls = stalls
        self._limits = limits
        self._sign_up = sign_up
        self._now = now
        self._queries: dict[str, Callable[[Fields, Actor], Awaitable[Answer]]] = {
            "seller_list": self._seller_list,
            "menu": self._menu,
            "fetch": self._fetch,
            "note": self._note,
            "push": self._push,
            "hungry": self._hungry,
            "call": self._call,
            "done": self._done,
            "signup": self._signup,
            "info": self._info,
            "admin": self._admin,
            "renew": self._renew,
            "update": self._update,
            "clear": self._clear,
            "qrcode": self._qrcode,
        }

    # ------------------------------------------------------------ from request to answer

    async def answer(self, fields: Fields, *, address: str) -> Answer:
        """The answer to one request. Raises only what the edge answers with 503."""
        query = fields.text("query")
        try:
            if query == "login":
                return await self._login(fields, address)
            key = fields.text("sessionKey")
            if not key:
                return ILLEGAL_QUERY
            session = self._sessions.peek(key) or await self._sessions.get(key)
            return await self.carry_out(query, fields, session)
        except SessionExpired:
            return TIME_OUT
        except TooManyRequests:
            return TOO_MANY

    async def carry_out(self, query: str, fields: Fields, session: Session) -> Answer:
        """The answer for who is signed in. Raises TooManyRequests."""
        self.count(session)
        run = self._queries.get(query)
        # The back office has no business here; an old `renew` would not ask for its role.
        if run is None or session.app == "staff":
            return ILLEGAL_QUERY
        name = f"{query}Success"
        try:
            if query == "signup" and "seller" not in session.roles:
                raise Refused("Invalid Tel Error")
            return {name: "success", **await run(fields, actor_of(session))}
        except Refused as refusal:
            return {name: "fail", "failMsg": refusal.message, **refusal.more}

    def knows(self, query: str) -> bool:
        return query == "login" or query in self._queries

    def count(self, session: Session) -> None:
        """Count a question of this session. Raises TooManyRequests."""
        if self._limits.enabled:
            _refuse_if(self._limits.session.allow(f"session {session.id}", self._now()))

    # ------------------------------------------------------------ everyone

    async def _login(self, fields: Fields, address: str) -> Answer:
        """Q00–Q02. Raises TooManyRequests."""
        is_seller = fields.says_yes("isseller")
        try:
            opened = await signing_in.sign_in(
                self._people,
                self._sessions,
                self._limits,
                app="seller" if is_seller else "diner",
                code=fields.text("code"),
                address=address,
                now=self._now(),
            )
        except WeChatUnavailable:
            return {"loginSuccess": "fail", "failMsg": "API Error"}
        except (CodeRefused, AccountBlocked):
            return {"loginSuccess": "fail", "failMsg": "Login Error"}
        answer = {"loginSuccess": "success", "sessionKey": opened.key_hex}
        if not is_seller:
            return answer
        try:
            stall = await self._stalls.of_seller(actor_of(opened.session))
        except NotYourStall:
            # With the key: without one nobody could ever sign up.
            return {**answer, "loginSuccess": "fail", "failMsg": "Seller Openid Error"}
        return {**answer, "balanceMon": str(stall.balance_months)}

    async def _seller_list(self, _: Fields, __: Actor) -> Answer:
        stalls = list(await self._stalls.open_stalls())
        shown = [self._list_item(stall) for stall in stalls]
        if not shown:
            raise Refused("Null List Error", count="0", list=[])
        return {"count": str(len(shown)), "list": shown}

    def _list_item(self, stall: Stall) -> Answer:
        url = self._stalls.image_url(stall)
        return {"id": str(stall.id), "name": stall.name, "imageURL": url, "imageUrl": url}

    async def _menu(self, fields: Fields, by: Actor) -> Answer:
        taken = await self._taken(by)
        try:
            stall = await self._stalls.get(_id(fields.text("sellerId")))
        except StallNotFound:
            raise Refused("Illegal Seller Error", **taken) from None
        if not stall.is_open:
            raise Refused("Illegal Seller Error", **taken)
        return {"menuContent": list(stall.menu), "sellerName": stall.name, **taken}

    async def _taken(self, by: Actor) -> Answer:
        """The diner's open order, at whichever stall."""
        ticket = await self._queues.open_ticket(by)
        if ticket is None:
            return {"takenFlag": "fail"}
        stall = await self._stalls.get(ticket.stall_id)
        return {
            "takenFlag": "success",
            "takenSellerId": str(stall.id),
            "takenSellerName": stall.name,
            "takenMarchSn": str(ticket.number),
            "takenMenuName": ticket.note,
        }

    # ------------------------------------------------------------ diners

    async def _push(self, fields: Fields, by: Actor) -> Answer:
        """Raises TooManyRequests: numbers are not to be found by guessing."""
        note = fields.text("noteContent")
        try:
            with guarded_numbers(self._limits, by.session_id, self._now()):
                stall_id = _id(fields.text("sellerId"))
                number = number_of(fields.text("marchSn"))
                await self._refuse_late_push(stall_id, number, by, note=note)
                grant = _template(fields.text("grant"))
                await self._queues.follow(stall_id, number, by, note=note, grant=grant)
        except NumberTaken:
            raise Refused("Taken Error") from None
        except (InvalidNumber, InvalidNote, StallNotFound):
            raise Refused("Invalid Sn Error") from None
        return {}

    async def _refuse_late_push(self, stall_id: int, number: int, by: Actor, *, note: str) -> None:
        """Raises InvalidNumber for the repeat of a push whose own ticket has just ended."""
        try:
            own = await self._queues.own_ticket(stall_id, number, by)
        except TicketNotFound:
            return
        is_repeat = own.diner_session == by.session_id and own.note == note.strip()
        if is_repeat and own.ended_at is not None and self._now() - own.ended_at < LATE_PUSH_MS:
            raise InvalidNumber

    async def _hungry(self, fields: Fields, by: Actor) -> Answer:
        """Of a number this diner bound it is his own ticket that counts, not the next holder's."""
        try:
            stall_id = _id(fields.text("sellerId"))
            number = number_of(fields.text("marchSn"))
            ticket = await self._asked_for(stall_id, number, by)
            is_own = ticket.diner_id == by.account_id
            if is_own and ticket.status is Status.CALLED and ticket.reached_at is None:
                # The phone learns of the call by this very answer.
                await self._queues.acknowledge(ticket.id, by)
        except QueueError:
            # No such number; or the call was taken back in between.
            raise Refused("Not Ready Yet") from None
        if ticket.status in {Status.CALLED, Status.NO_SHOW}:
            return {}
        if is_own and ticket.status is Status.FINISHED:
            return {}
        raise Refused("Not Ready Yet")

    async def _asked_for(self, stall_id: int, number: int, by: Actor) -> Ticket:
        """The diner's own ticket of today with the number, else whoever's holds it now."""
        try:
            own = await self._queues.own_ticket(stall_id, number, by)
        except TicketNotFound:
            return await self._queues.live_ticket(stall_id, number)
        if own.business_date != self._queues.business_date() and not own.is_live:
            return await self._queues.live_ticket(stall_id, number)
        return own

    async def _done(self, fields: Fields, by: Actor) -> Answer:
        """Success whatever happens: the dialect has no other form."""
        try:
            number = number_of(fields.text("marchSn"))
            if fields.says_yes("isseller"):
                stall_id = await self._queues.stall_of(by)
                await self._queues.finish_number(stall_id, number, by)
            else:
                await self._queues.finish_own(_id(fields.text("sellerId")), number, by)
        except QueueError as error:
            log.info("done changed nothing", why=error.code)
        return {}

    # ------------------------------------------------------------ sellers

    async def _fetch(self, _: Fields, by: Actor) -> Answer:
        try:
            stall_id = await self._queues.stall_of(by)
            ticket = await self._queues.issue(stall_id, by)
        except (StallDue, StallClosed, NotYourStall):
            raise Refused("Due Date Error") from None
        except PoolExhausted:
            raise Refused("No Sn Valid") from None
        return {"marchSn": ticket.number}

    async def _note(self, fields: Fields, by: Actor) -> Answer:
        try:
            stall_id = await self._queues.stall_of(by)
        except NotYourStall:
            return {"sellerId": None, "orderList": {"notedList": [], "unnotedList": []}}
        tickets = await self._queues.live_tickets(stall_id)
        items = [
            {"marchSn": str(ticket.number), "noteContent": ticket.note or None}
            for ticket in sorted(tickets, key=lambda ticket: ticket.id)
        ]
        answer: Answer = {
            "sellerId": str(stall_id),
            "orderList": {
                "notedList": [item for item in items if item["noteContent"] is not None],
                "unnotedList": [item for item in items if item["noteContent"] is None],
            },
        }
        if fields.has("marchSn"):
            notes = {item["marchSn"]: item["noteContent"] for item in items}
            answer["noteContent"] = notes.get(fields.text("marchSn").lstrip("0"))
        return answer

    async def _call(self, fields: Fields, by: Actor) -> Answer:
        try:
            stall_id = await self._queues.stall_of(by)
            await self._queues.call_number(stall_id, number_of(fields.text("marchSn")), by)
        except (InvalidNumber, NotYourStall):
            raise Refused("Invalid Sn Error") from None
        return {}

    async def _clear(self, _: Fields, by: Actor) -> Answer:
        try:
            await self._queues.clear(await self._queues.stall_of(by), by)
        except NotYourStall:
            # The original found no seller, did nothing and said success.
            return {}
        return {}

    async def _signup(self, fields: Fields, by: Actor) -> Answer:
        """Raises TooManyRequests."""
        if self._limits.enabled:
            _refuse_if(self._sign_up.allow(str(by.account_id), self._now()))
        name, person = fields.text("sellerName").strip(), fields.text("personName").strip()
        # An old client has no field for the code: it is typed behind the phone number.
        phone, _, code = fields.text("telNum").strip().partition("#")
        if not (_is_phone(phone) and _is_name(name) and _is_name(person)):
            raise Refused("Invalid Tel Error")
        try:
            await self._stalls.sign_up(
                by, phone=phone, name=name, person=person, code=fields.text("signupCode") or code
            )
        except (ClaimRefused, HasStall):
            raise Refused("Invalid Tel Error") from None
        except StallDue:
            raise Refused("Need Renew Error") from None
        return {}

    async def _info(self, _: Fields, by: Actor) -> Answer:
        try:
            stall = await self._stalls.of_seller(by)
        except NotYourStall:
            raise Refused("Invalid Session Error") from None
        url = self._stalls.image_url(stall)
        return {
            "sellerName": stall.name,
            "imageUrl": url,
            "imageURL": url,
            "menuList": list(stall.menu),
            "balanceMon": str(stall.balance_months),
            "personName": stall.person,
        }

    async def _update(self, fields: Fields, by: Actor) -> Answer:
        """The texts first, then the picture; a bad picture leaves the texts saved."""
        try:
            await self._stalls.of_seller(by)
            await self._stalls.change_own(by, _changes(fields))
            return await self._update_picture(fields, by)
        except NotYourStall:
            raise Refused("Need Signup Error", updateImageSuccess="fail") from None
        except StallDue:
            raise Refused("Need Renew Error", updateImageSuccess="fail") from None

    async def _update_picture(self, fields: Fields, by: Actor) -> Answer:
        data = fields.files.get("sellerImage")
        if not data:
            return {"updateImageSuccess": "fail", "failMsg": "No File Uploaded"}
        try:
            await self._stalls.set_picture(by, data)
        except PictureTooLarge:
            return {"updateImageSuccess": "fail", "failMsg": "Size Error"}
        except BadPicture:
            return {"updateImageSuccess": "fail", "failMsg": "Move 1 Error"}
        except OSError as error:
            log.error("a picture was not stored", why=str(error))
            return {"updateImageSuccess": "fail", "failMsg": "Move 2 Error"}
        return {"updateImageSuccess": "success"}

    async def _qrcode(self, _: Fields, by: Actor) -> Answer:
        try:
            return {"qrcodeImageUrl": await self._stalls.code_url(by)}
        except NotYourStall:
            raise Refused("Invalid Session Error") from None
        except (AccountsError, BadPicture) as error:
            log.warning("no mini-program code", why=type(error).__name__)
            raise Refused("API Error") from None

    # ------------------------------------------------------------ administrators

    async def _admin(self, _fields: Fields, by: Actor) -> Answer:
        _require_admin(by)
        _total, stalls = await self._stalls.page(offset=0, most=STALLS_MAX)
        return {
            "sellerList": [
                {
                    "sellerName": stall.name,
                    "personName": stall.person,
                    "telNum": stall.phone,
                    "balanceMon": str(stall.balance_months),
                    "open": False,
                }
                for stall in stalls
            ]
        }

    async def _renew(self, fields: Fields, by: Actor) -> Answer:
        _require_admin(by)
        phone, term = fields.text("telNum").strip(), fields.text("term").strip()
        if not _is_phone(phone):
            raise Refused("Invalid Tel Error")
        if not (
            term.isascii() and term.isdigit() and len(term) <= 2 and 1 <= int(term) <= TERM_MAX
        ):
            raise Refused("Invalid Term Error")
        await self._stalls.renew_by_phone(phone, months=int(term), by=by)
        return {}


def _require_admin(by: Actor) -> None:
    if by.kind != "admin":
        raise Refused("Not Admin Error")


def _refuse_if(wait_s: float) -> None:
    if wait_s:
        raise TooManyRequests(wait_s)


def _id(text: str) -> int:
    """A stall's id as an old client writes it. Raises StallNotFound."""
    if text.isascii() and text.isdigit() and len(text) <= 15 and int(text):
        return int(text)
    raise StallNotFound


def _template(text: str) -> str:
    """A message template's id, "" for what can be none."""
    return text if len(text) <= 64 and text.isascii() and text.isprintable() else ""


def _is_phone(text: str) -> bool:
    digits = text.removeprefix("+")
    return digits.isascii() and digits.isdigit() and 5 <= len(digits) <= 31


def _is_name(text: str) -> bool:
    return len(text) <= NAME_MAX and not _UNFIT.search(text)


def _changes(fields: Fields) -> dict[str, Any]:
    """What `update` changes of a stall. Raises Refused for what cannot be shown."""
    changes: dict[str, Any] = {}
    for field, column in (("sellerName", "name"), ("personName", "person")):
        if fields.has(field):
            text = fields.text(field).strip()
            if not fields.is_text(field) or not _is_name(text) or (column == "name" and not text):
                raise Refused("Invalid Name Error", updateImageSuccess="fail")
            changes[column] = text
    if fields.has("menuList"):
        menu = fields.texts("menuList")
        if menu is None or not _is_menu(menu):
            raise Refused("Invalid Menu Error", updateImageSuccess="fail")
        changes["menu"] = menu
    return changes


def _is_menu(menu: list[str]) -> bool:
    size = sum(len(dish.encode()) for dish in menu)
    return len(menu) <= DISHES_MAX and size <= MENU_MAX_BYTES and all(map(_is_name, menu))
