"""Live progress on a terminal, a plain line every few seconds elsewhere; both on standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from revgn.training import Event, Problem

PLAIN_SECONDS = 5.0
_LIVE_HZ = 8.0

Observer = Callable[["Problem", "Event"], None]


class Progress:
    """What the events so far say, as one line."""

    def __init__(self) -> None:
        self._test = ""
        self._began = time.monotonic()
        self._first_step: int | None = None
        self.events = 0
        self.done = 0
        self.total = 1

    def line(self, problem: "Problem", event: "Event") -> str:
        """Epoch, step, loss, accuracy, test accuracy, rho, samples/s, time left."""
        record = event.record
        self.events += 1
        self.done, self.total = event.state.step, problem.total_steps
        if "test_loss" in record:
            name = "test_accuracy" if "test_accuracy" in record else "test_loss"
            self._test = f"test {_figure(name, record[name])}"
            if "loss" not in record:
                return f"epoch {record['epoch']:.3g}  step {self.done}/{self.total}  {self._test}"
        if self._first_step is None:
            self._first_step, self._began = self.done - 1, time.monotonic() - record["seconds"]
        elapsed = max(time.monotonic() - self._began, 1e-9)
        speed = (self.done - self._first_step) / elapsed
        parts = [
            f"epoch {record['epoch']:.3g}",
            f"step {self.done}/{self.total}",
            f"loss {record['loss']:.4g}",
        ]
        if "accuracy" in record:
            parts.append(f"acc {record['accuracy']:.1%}")
        if self._test:
            parts.append(self._test)
        if "rho" in record:
            parts.append(f"rho {record['rho']:.1e}")
        parts.append(f"{speed * problem.batch_size:,.0f} samples/s")
        parts.append(f"{clock((self.total - self.done) / speed)} left")
        return "  ".join(parts)


@contextmanager
def show_progress(quiet: bool, title: str) -> Iterator[Observer | None]:
    """Give an observer of training events that shows them as they come, under a title."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        yield from _live(title)
    else:
        yield _plain(title)


def clock(seconds: float) -> str:
    """Short form of a duration: 42s, 3m05s, 2h07m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _live(title: str) -> Iterator[Observer]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    progress = Progress()
    columns = (BarColumn(bar_width=16), TextColumn("{task.description}"))
    with Bar(*columns, console=Console(stderr=True), refresh_per_second=_LIVE_HZ) as bar:
        task = bar.add_task("starting", total=None)

        def observe(problem: "Problem", event: "Event") -> None:
            if not progress.events:
                bar.console.print(title, highlight=False)
            line = progress.line(problem, event)
            bar.update(task, description=line, completed=progress.done, total=progress.total)

        yield observe


def _plain(title: str) -> Observer:
    progress = Progress()
    began = time.monotonic()
    last = -PLAIN_SECONDS

    def observe(problem: "Problem", event: "Event") -> None:
        nonlocal last
        if not progress.events:
            click.echo(title, err=True)
        line = progress.line(problem, event)
        now = time.monotonic() - began
        if now - last >= PLAIN_SECONDS or progress.done == progress.total:
            click.echo(f"{now:7.1f}s  {line}", err=True)
            last = now

    return observe


def _figure(name: str, value: float) -> str:
    return f"{value:.2%}" if name.endswith("accuracy") else f"{value:.4g}"
