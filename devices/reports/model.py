"""The nouns of reports: statistics, daily reports, thresholds; the reasons to refuse.

Days are Beijing's, YYYYMMDD. Amounts are fen.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Literal, TypeAlias

import msgspec

from devices.model import CabinetError
from sql.types import Millis

Group: TypeAlias = Literal["day", "store", "device", "payment"]
GROUPS: Final[tuple[Group, ...]] = ("day", "store", "device", "payment")

ROWS_MAX: Final = 10_000


class SalesRow(msgspec.Struct, frozen=True, kw_only=True):
    """Orders that are equal in what was grouped by; what was not is None.

    orders: of door sessions; supplements: what was asked for afterwards. due_fen: by the latest
    revision; paid_fen: what came, wechat_fen and tickets its two parts; net_fen: what is left of
    it; open_fen: what is unpaid.
    """

    day: int | None = None
    store_id: int | None = None
    device_id: int | None = None
    pay_with: str | None = None
    orders: int = 0
    supplements: int = 0
    unpaid: int = 0
    due_fen: int = 0
    paid_fen: int = 0
    wechat_fen: int = 0
    tickets: int = 0
    refunded_fen: int = 0
    net_fen: int = 0
    open_fen: int = 0


class Sales(msgspec.Struct, frozen=True):
    """total: over all rows, and all that there were no room for."""

    rows: list[SalesRow]
    total: SalesRow


class ReportKind(StrEnum):
    OPERATION = "operation"
    EXCEPTION = "exception"
    HEALTH = "health"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """body: sections by name; a section is a mapping of figures, or a list of such."""

    id: int
    kind: ReportKind
    day: int
    body: Mapping[str, Any]
    made_at: Millis


class Gauges(msgspec.Struct, frozen=True, kw_only=True):
    """How it is now, each a number by name, for those who watch the server.

    sessions, exceptions: that are not over, by state and by kind. orders: not settled yet, by
    state; ordered: of the last hour. attempts: the latest to pay through WeChat.
    """

    links: Mapping[str, int] = {}
    sessions: Mapping[str, int] = {}
    orders: Mapping[str, int] = {}
    ordered: Mapping[str, int] = {}
    attempts: Mapping[str, int] = {}
    exceptions: Mapping[str, int] = {}


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """When something is an alert. permille: thousandths.

    window_ms: what is counted is of so long. *_least: below so many nothing is said of a share.
    """

    window_ms: Millis = 3_600_000
    payments_least: int = 20
    payments_success_permille: int = 900
    devices_least: int = 5
    devices_offline_permille: int = 200
    callbacks_failed: int = 20
    outbox_age_ms: Millis = 600_000
    exceptions_age_ms: Millis = 24 * 3_600_000
    callbacks_forged: int = 50
    account_openings: int = 20
    account_unfinished: int = 8
    account_complaints: int = 5
    complaints_window_ms: Millis = 7 * 24 * 3_600_000


class ReportNotFound(CabinetError):
    code = "reports.not_found"
    title = "No such report"


class ReportsOfAll(CabinetError):
    """Reports are of all stores; whoever is kept to some sees statistics of those."""

    code = "reports.of_all_stores"
    title = "Reports are for those who see all stores"
