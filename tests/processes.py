"""Processes that tests start: signals as a shell would set them, no wait without end, nothing left behind."""

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 300.0  # seconds that a loaded machine may take for anything here


class Process(subprocess.Popen):
    """Process in a group of its own, which is killed as a whole when a wait takes too long.

    SIGINT, SIGTERM and SIGHUP act as by default, even if whoever started the tests ignores or blocks them (as
    `nohup` and a shell's `&` do), since this is inherited; those in `ignored` are ignored from the start.
    """

    def __init__(self, command: list[str], ignored: Iterable[int] = (), **options: Any) -> None:
        further = options.pop("preexec_fn", lambda: None)

        def begin() -> None:
            for number in STOPPING:
                signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
            further()

        super().__init__(command, start_new_session=True, preexec_fn=begin, **options)

    def wait(self, timeout: float | None = None) -> int:
        with self._killed_if_late():
            return super().wait(PATIENCE if timeout is None else timeout)

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        with self._killed_if_late():
            return super().communicate(input, PATIENCE if timeout is None else timeout)

    def signal_group(self, number: int) -> None:
        """Send a signal to the process and its children, as a terminal does."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def end(self) -> None:
        """Kill the group, if any of it is alive, and collect the process."""
        self.signal_group(signal.SIGKILL)
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()
        self.wait()

    @contextmanager
    def _killed_if_late(self) -> Iterator[None]:
        try:
            yield
        except subprocess.TimeoutExpired:
            self.signal_group(signal.SIGKILL)
            raise


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its output and errors are text."""
    process = Process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    try:
        output, errors = process.communicate()
    finally:
        process.end()
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen | None = None) -> bool:
    """Wait for a condition; False if the process ended first."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if process is not None and process.poll() is not None:
            return condition()
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.002)
    return True


class Terminal:
    """Pseudo-terminal; its `end` is passed to a process, and then closed here."""

    def __init__(self) -> None:
        self._leader, self.end = pty.openpty()
        self._content = b""

    def read(self, until: str | None = None) -> str:
        """Return all that has been written, up to the text `until` or to the end."""
        deadline = time.monotonic() + PATIENCE
        while until is None or until not in self._content.decode(errors="replace"):
            ready, _, _ = select.select([self._leader], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"waited too long; the terminal has {self._content[-500:]!r}"
            try:
                chunk = os.read(self._leader, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not chunk:
                break
            self._content += chunk
        return self._content.decode(errors="replace")

    def close(self) -> None:
        if self._leader >= 0:
            os.close(self._leader)
        self._leader = -1
