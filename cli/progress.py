"""Progress on standard error: a live line in a terminal, a plain line every few seconds elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from revgn_cli.notes import say

if TYPE_CHECKING:
    from revgn.training import Event, Problem

PLAIN_SECONDS = 5.0
_LIVE_HZ = 8.0
_BAR = 10  # characters
_SHOWN = ("epoch", "step", "loss", "accuracy", "test", "rho", "speed", "left")
_METRICS = ("loss", "accuracy", "rmse", "r2")
_DROPPED_FIRST = ("speed", "rho", "epoch", "accuracy", "loss")

Observer = Callable[["Problem", "Event"], None]


class Progress:
    """Summary of the training events so far, as one line."""

    def __init__(self) -> None:
        self._parts: dict[str, str] = {}
        self._began = time.monotonic()
        self._first_step: int | None = None
        self.events = 0
        self.done = 0
        self.total = 1

    def line(self, problem: "Problem", event: "Event", width: int = 1000) -> str:
        """Return epoch, step, loss, accuracy, rho, speed and time left, as far as they fit into `width`."""
        record = event.record
        self.events += 1
        self.done, self.total = event.state.step, problem.total_steps
        if "test_loss" in record:
            from revgn.views.compare import metric_text

            name = "test_accuracy" if "test_accuracy" in record else "test_loss"
            self._parts["test"] = f"test {metric_text(name, record[name])}"
            if f"{name}_average" in record:
                self._parts["test"] += f" (average {metric_text(name, record[f'{name}_average'])})"
        else:
            if self._first_step is None:
                self._first_step, self._began = self.done - 1, time.monotonic() - record["seconds"]
            speed = (self.done - self._first_step) / max(time.monotonic() - self._began, 1e-9)
            self._parts["loss"] = f"loss {record['loss']:.4g}"
            if "accuracy" in record:
                self._parts["accuracy"] = f"acc {record['accuracy']:.1%}"
            if "rho" in record:
                self._parts["rho"] = f"rho {record['rho']:.1e}"
            self._parts["speed"] = f"{speed * problem.batch_size:,.0f} samples/s"
            self._parts["left"] = f"{clock((self.total - self.done) / speed)} left"
        self._parts["epoch"] = f"epoch {record['epoch']:.3g}"
        self._parts["step"] = f"step {self.done}/{self.total}"
        shown = [name for name in _SHOWN if name in self._parts]
        for name in _DROPPED_FIRST:
            if sum(len(self._parts[each]) + 2 for each in shown) > width and name in shown:
                shown.remove(name)
        return "  ".join(self._parts[name] for name in shown)


@contextmanager
def show_progress(quiet: bool, title: str) -> Iterator[Observer | None]:
    """Yield a function that displays training events under a title; None if `quiet`."""
    if quiet:
        yield None
    elif can_redraw(sys.stderr):
        yield from _live(title)
    else:
        yield _plain(title)


def can_redraw(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that can move its cursor, unlike TERM=dumb."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def is_live(stream: TextIO) -> bool:
    """Return whether a live display has replaced the stream, and prints lines above itself."""
    return hasattr(stream, "rich_proxied_file")


def clock(seconds: float) -> str:
    """Return the short form of a duration: 42s, 3m05s, 2h07m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def evaluation_metrics(record: Mapping[str, float], *, average: bool = False) -> list[str]:
    """Return the metrics of an evaluation as text, for the raw or the averaged weights."""
    from revgn.views.compare import metric_label, metric_text

    names = [f"{part}_{what}" for part in ("train", "validation", "test") for what in _METRICS]
    ending = "_average" if average else ""
    found = {name: record[f"{name}{ending}"] for name in names if f"{name}{ending}" in record}
    return [f"{metric_label(name)} {metric_text(name, value)}" for name, value in found.items()]


def _live(title: str) -> Iterator[Observer]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    progress = Progress()
    columns = (BarColumn(bar_width=_BAR), TextColumn("{task.description}"))
    with Bar(*columns, console=Console(stderr=True), refresh_per_second=_LIVE_HZ) as bar:
        task = bar.add_task("starting", total=None)

        def observe(problem: "Problem", event: "Event") -> None:
            if not progress.events:
                bar.console.print(title, highlight=False)
            line = progress.line(problem, event, bar.console.width - _BAR - 2)
            bar.update(task, description=line, completed=progress.done, total=progress.total)

        yield observe


def _plain(title: str) -> Observer:
    progress = Progress()
    began = time.monotonic()
    last = -PLAIN_SECONDS

    def observe(problem: "Problem", event: "Event") -> None:
        nonlocal last
        if not progress.events:
            say(title)
        line = progress.line(problem, event)
        now = time.monotonic() - began
        is_result = progress.done == progress.total and "test_loss" in event.record
        if now - last >= PLAIN_SECONDS or is_result:
            say(f"{now:7.1f}s  {line}")
            last = now

    return observe
