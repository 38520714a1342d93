"""What the service counts, for Prometheus, in a registry of its own.

Only tasks that are there become labels, and classes of their models: no text of a client does.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    import pandas as pd

    from vptlib.operations.service.desk import Answer, Serving

_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Watched(Protocol):
    """What the metrics read of a desk, see `vptlib.operations.service.desk`."""

    @property
    def tasks(self) -> "Mapping[str, Serving]": ...

    @property
    def waiting(self) -> int: ...

    @property
    def looked(self) -> datetime | None: ...

    def bank_report(self) -> "pd.DataFrame": ...


def shown_version(version: int | None) -> str:
    """A version as a label; a file has none."""
    return "file" if version is None else str(version)


class Metrics:
    """The figures of one service."""

    def __init__(self):
        self.registry = own = CollectorRegistry()
        self._seconds = Histogram(
            "vpt_answer_seconds",
            "From the whole image to the answer.",
            ("task", "outcome"),
            buckets=_SECONDS,
            registry=own,
        )
        self._answers = _counter("vpt_answers", "Answers that were given.", own, "task", "version", "class")
        self._for_person = _counter("vpt_asked_for_a_person", "Whether one should look.", own, "task", "ask_a_person")
        self._refused = _counter("vpt_refused", "Requests that were refused.", own, "reason")
        self._passes = Histogram("vpt_batch_images", "Images of a pass.", buckets=_IMAGES, registry=own)
        self._checked = _counter("vpt_checked", "True classes that people sent.", own, "task")
        self.records_lost = _counter("vpt_records_lost", "Answers that were given, but not recorded.", own)
        self.records_waiting = Gauge("vpt_records_waiting", "Answers that are to be recorded.", registry=own)
        self.in_flight = Gauge("vpt_images_in_flight", "Images that are being answered.", registry=own)
        self.bytes_held = Gauge("vpt_request_bytes", "Bytes of requests in memory.", registry=own)

    def answered(self, given: "Answer", seconds: float) -> None:
        """Count an answer."""
        self._seconds.labels(given.task, "answered").observe(seconds)
        self._answers.labels(given.task, shown_version(given.version), given.answer).inc()
        self._for_person.labels(given.task, given.ask_a_person).inc()

    def unanswered(self, task: str, outcome: str, seconds: float) -> None:
        """Count an image of a known task that got no answer."""
        self._seconds.labels(task, outcome).observe(seconds)

    def refuse(self, reason: str) -> None:
        """Count a request that was refused; `reason` is a code of this program."""
        self._refused.labels(reason).inc()

    def passed(self, images: int) -> None:
        """Count a pass of a backbone."""
        self._passes.observe(images)

    def check(self, task: str) -> None:
        """Count a true class."""
        self._checked.labels(task).inc()

    def watch(self, desk: Watched) -> None:
        """Ask a desk for the rest whenever the figures are read."""
        self.registry.register(_OfDesk(desk))

    def text(self) -> bytes:
        """All figures in the text format of Prometheus."""
        return generate_latest(self.registry)


def _counter(name: str, about: str, registry: CollectorRegistry, *labels: str) -> Counter:
    return Counter(name, about, labels, registry=registry)


class _OfDesk(Collector):
    """The figures that a desk has at the moment."""

    def __init__(self, desk: Watched):
        self._desk = desk

    def describe(self) -> Iterable:
        return ()  # so that the desk is not asked before it has started

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily("vpt_queue_images", "Images that wait for a pass.", value=self._desk.waiting)
        if looked := self._desk.looked:
            name, about = "vpt_last_refresh_timestamp_seconds", "When it was last looked up what should answer."
            yield GaugeMetricFamily(name, about, value=looked.timestamp())
        yield from self._models()
        yield from self._memory()

    def _models(self) -> Iterator[GaugeMetricFamily]:
        labels = ("task", "version", "digest", "method", "backbone")
        info = GaugeMetricFamily("vpt_model_info", "What answers now.", labels=labels)
        since = GaugeMetricFamily("vpt_model_since_timestamp_seconds", "Since when it answers.", labels=["task"])
        behind = GaugeMetricFamily("vpt_model_is_behind", "1 if its newest version cannot answer.", labels=["task"])
        for name, serving in self._desk.tasks.items():
            card = serving.card
            about = (name, shown_version(serving.version), serving.digest, card.method, card.backbone.name)
            info.add_metric(about, 1)
            since.add_metric([name], serving.since.timestamp())
            behind.add_metric([name], bool(serving.problem))
        yield from (info, since, behind)

    def _memory(self) -> Iterator[GaugeMetricFamily]:
        tasks = GaugeMetricFamily("vpt_tasks_in_memory", "Tasks in memory.", labels=["backbone"])
        size = GaugeMetricFamily("vpt_tasks_bytes", "Memory that tasks add to their backbone.", labels=["backbone"])
        report = self._desk.bank_report()
        for backbone, rows in report.groupby("backbone", sort=True):
            tasks.add_metric([str(backbone)], len(rows))
            size.add_metric([str(backbone)], float(rows["bytes"].sum()))
        yield from (tasks, size)
