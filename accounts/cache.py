"""Sessions held in memory, so that the common request asks no database."""

from collections import OrderedDict
from collections.abc import Iterator
from hashlib import sha256

from accounts.model import Session
from sql.types import Millis


def fingerprint(token: str) -> str:
    """SHA-256 in hex. For a session key it is what the database has; tokens are not kept."""
    return sha256(token.encode()).hexdigest()


class Held:
    """A session as last read, and its uses since. jwt_print: the other face, "" until shown.

    used_at: exact; touched_at: what the database was told; read_at: when it was asked.
    """

    __slots__ = ("jwt_print", "key_hash", "read_at", "session", "touched_at", "used_at")

    def __init__(self, session: Session, *, key_hash: str, used_at: Millis, read_at: Millis):
        self.session = session
        self.key_hash = key_hash
        self.jwt_print = ""
        self.used_at = used_at
        self.touched_at = used_at
        self.read_at = read_at


class Cache:
    """The sessions used last, `most` of them, found by the fingerprint of either face."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._by_print: dict[str, Held] = {}
        # From the least to the most recently used.
        self._by_id: OrderedDict[int, Held] = OrderedDict()

    def __iter__(self) -> Iterator[Held]:
        """A copy: what is iterated over may be dropped on the way."""
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, token_print: str) -> Held | None:
        held = self._by_print.get(token_print)
        if held is not None:
            self._by_id.move_to_end(held.session.id)
        return held

    def get(self, session_id: int) -> Held | None:
        return self._by_id.get(session_id)

    def put(self, held: Held) -> Held | None:
        """Hold it; who had to go for it is answered."""
        self._by_id[held.session.id] = held
        self._by_print[held.key_hash] = held
        if len(self._by_id) <= self.most:
            return None
        return self.drop(next(iter(self._by_id)))

    def know_jwt(self, held: Held, jwt_print: str) -> None:
        """A session has one JWT, so that there are never more than two faces."""
        self._by_print.pop(held.jwt_print, None)
        held.jwt_print = jwt_print
        self._by_print[jwt_print] = held

    def drop(self, session_id: int) -> Held | None:
        held = self._by_id.pop(session_id, None)
        if held is not None:
            del self._by_print[held.key_hash]
            self._by_print.pop(held.jwt_print, None)
        return held
