"""Figures for Prometheus, gathered when somebody asks.

Counted elsewhere as plain integers; this module only gives them their names.
"""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from handlers.hub import Hub
from handlers.routing import Route
from server.cabinets import CabinetSide
from server.jobs import Runner
from server.outbox import Outbox
from sql.database import Database
from sql.events import Event

# Upper bounds in seconds; a queue's request takes a few milliseconds.
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class HttpFigures:
    """How many requests each route had, how they ended, how long they took."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str, int], int] = {}
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, route: Route | None, status: int, took_s: float) -> None:
        key = (route.method, route.path, status) if route else ("-", "-", status)
        self.answers[key] = self.answers.get(key, 0) + 1
        self.sum_s += took_s
        for place, bound in enumerate(BUCKETS_S):
            if took_s <= bound:
                self.buckets[place] += 1
                return
        self.buckets[-1] += 1


class Figures(Collector):
    """All metrics of one server."""

    def __init__(
        self,
        db: Database,
        hub: Hub,
        runners: list[Runner],
        outbox: Outbox,
        http: HttpFigures,
        cabinets: CabinetSide,
    ) -> None:
        self._db = db
        self._hub = hub
        self._runners = runners
        self._outbox = outbox
        self._http = http
        self._cabinets = cabinets
        self._events: dict[str, int] = {}

    def told(self, events: list[Event]) -> None:
        """Count committed events by name."""
        for event in events:
            self._events[event.name] = self._events.get(event.name, 0) + 1

    def collect(self) -> Iterator[Metric]:
        yield from self._sockets()
        yield from self._database()
        yield from self._requests()
        yield from self._callbacks()
        yield from self._gauges()
        events = CounterMetricFamily("callme_events", "Committed events.", labels=["name"])
        for name, count in sorted(self._events.items()):
            events.add_metric([name], count)
        yield events
        failures = sum(runner.failures for runner in self._runners)
        yield _counter("callme_job_failures", "Runs of timed jobs that failed.", failures)
        yield _counter("callme_outbox_delivered", "Parcels delivered.", self._outbox.delivered)
        yield _counter("callme_outbox_dead", "Parcels given up.", self._outbox.dead)

    def _sockets(self) -> Iterator[Metric]:
        counters = self._hub.counters
        yield _gauge("callme_sockets", "WebSocket connections open.", len(self._hub.clients))
        yield _counter("callme_socket_opened", "WebSocket connections opened.", counters.opened)
        yield _counter("callme_socket_frames_in", "Frames received.", counters.frames_in)
        yield _counter("callme_socket_frames_out", "Frames sent.", counters.frames_out)
        dropped = CounterMetricFamily(
            "callme_socket_dropped", "Connections closed by us.", labels=["reason"]
        )
        for reason in ("slow", "dead", "broken", "fast"):
            dropped.add_metric([reason], getattr(counters, f"dropped_{reason}"))
        yield dropped

    def _callbacks(self) -> Iterator[Metric]:
        inbox = self._cabinets.inbox
        callbacks = CounterMetricFamily(
            "callme_callbacks", "Callbacks of cabinets' platforms.", labels=["vendor", "outcome"]
        )
        for (vendor, outcome), count in sorted(inbox.counts.items()):
            callbacks.add_metric([vendor, outcome], count)
        yield callbacks
        yield _gauge("callme_inbox_waiting", "Callbacks kept and not worked off.", inbox.waiting)
        lag_s = inbox.lag_ms / 1000
        yield _gauge("callme_inbox_lag_seconds", "How long the oldest of them waits.", lag_s)

    def _gauges(self) -> Iterator[Metric]:
        """As they were at the last look, some seconds ago."""
        found = self._cabinets.gauges
        for name, text, label, counts in (
            ("devices", "Cabinets in stores.", "link", found.links),
            ("door_sessions", "Sessions at doors that are not over.", "state", found.sessions),
            ("cabinet_orders_open", "Orders that are not settled.", "state", found.orders),
            ("cabinet_orders_hour", "Orders of the last hour.", "state", found.ordered),
            ("payment_attempts", "The last thousand attempts to pay.", "state", found.attempts),
            ("exceptions_open", "What waits for a person.", "kind", found.exceptions),
        ):
            family = GaugeMetricFamily(f"callme_{name}", text, labels=[label])
            for value, count in sorted(counts.items()):
                family.add_metric([value], count)
            yield family

    def _database(self) -> Iterator[Metric]:
        yield _counter("callme_commits", "Transactions committed.", self._db.commits)
        yield _counter("callme_written", "Functions run in them.", self._db.written)
        yield _gauge("callme_writes_waiting", "Functions that wait.", self._db.outstanding)

    def _requests(self) -> Iterator[Metric]:
        answers = CounterMetricFamily(
            "callme_http_requests", "HTTP requests.", labels=["method", "route", "status"]
        )
        for (method, route, status), count in sorted(self._http.answers.items()):
            answers.add_metric([method, route, str(status)], count)
        yield answers
        took = HistogramMetricFamily("callme_http_seconds", "Time to the answer.")
        took.add_metric([], self._buckets(), self._http.sum_s)
        yield took

    def _buckets(self) -> list[tuple[str, float]]:
        """Counts up to each bound, as Prometheus wants them."""
        total, buckets = 0, []
        for bound, count in zip([*BUCKETS_S, float("inf")], self._http.buckets, strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
        return buckets


def exposition(figures: Figures) -> Callable[[], bytes]:
    """A function that writes the figures as text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(figures)
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    return lambda: generate_latest(registry)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
