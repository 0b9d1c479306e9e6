"""The owner of a run or trial: the process, on some machine, that writes it, and whether it is alive."""

import functools
import json
import os
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from revgn.store.files import write_whole

SILENT_SECONDS = 60.0  # a process on another machine that gives no sign of life for this time counts as dead


@dataclass(frozen=True, slots=True)
class Owner:
    """Unique identification of a process.

    `machine` distinguishes boots and containers of one host. `began` distinguishes processes with the same
    number. Both are empty if the system does not provide them.
    """

    host: str
    process: int
    machine: str = ""
    began: str = ""

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


def this_process() -> Owner:
    """Return the identification of the calling process."""
    return _owner(os.getpid())


def is_alive(owner: Owner) -> bool | None:
    """Return whether the process is alive; None if it ran on another machine or during another boot.

    A process that has ended, but whose parent has not noticed it (a zombie), is not alive.
    """
    here = this_process()
    if (owner.host, owner.machine) != (here.host, here.machine):
        return None
    try:
        os.kill(owner.process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    has_ended = _stat(owner.process)[:1] in (["Z"], ["X"])
    return not has_ended and owner.began == _began(owner.process)


def write_owner(path: Path, owner: Owner) -> None:
    """Write the owner to `path` atomically."""
    write_whole(path, json.dumps(asdict(owner)).encode())


def read_owner(path: Path) -> Owner | None:
    """Return the owner stored at `path`; None if there is no valid one."""
    with suppress(OSError, ValueError, TypeError):
        owner = Owner(**json.loads(path.read_bytes()))
        if isinstance(owner.process, int) and owner.process > 0:
            return owner
    return None


@functools.cache  # keyed by process number, since a fork inherits the cache
def _owner(process: int) -> Owner:
    return Owner(socket.gethostname(), process, _machine(), _began(process))


def _machine() -> str:
    parts = []
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _began(process: int) -> str:
    return "".join(_stat(process)[19:20])


def _stat(process: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; none if the system does not provide them."""
    with suppress(OSError):  # the name of the process, in parentheses, may contain blanks
        return Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return []
