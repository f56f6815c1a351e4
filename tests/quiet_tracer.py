"""Lets coverage's tracer live with greenlets: loaded by `make coverage` before anything is traced.

The tracer keeps what it knows of each greenlet in a WeakKeyDictionary. When a thread ends, greenlet
destroys what the thread had, and the dictionary's callback, a function of Python, is traced: the
tracer asks greenlet who runs, which makes a new greenlet for the dying thread, whose end is called
back, and so on for ever (seen on Python 3.11). A callback written in C is not traced.
"""

import weakref
from typing import Any


class QuietWeakKeyDictionary(weakref.WeakKeyDictionary[Any, Any]):
    """Forgets a key at once, without a function of Python."""

    data: dict[weakref.ref[Any], Any]

    def __init__(self, given: Any = None) -> None:
        super().__init__()
        self._remove = self.data.__delitem__
        if given is not None:
            self.update(given)


weakref.WeakKeyDictionary = QuietWeakKeyDictionary  # type: ignore[misc, assignment]
