"""Who writes a run or works at a job: a process of some machine, and whether it still lives."""

import functools
import json
import os
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from revgn.store.files import write_whole


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, as it is told from all others.

    `machine` tells boots and containers of one host apart, `began` two processes of one number; both are
    empty where the system does not say.
    """

    host: str
    process: int
    machine: str = ""
    began: str = ""

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


def this_process() -> Owner:
    """Return the owner that the calling process is."""
    return _owner(os.getpid())


def is_alive(owner: Owner) -> bool | None:
    """Tell whether the process lives; None where only its own machine can tell, or the boot it was of."""
    here = this_process()
    if (owner.host, owner.machine) != (here.host, here.machine):
        return None
    try:
        os.kill(owner.process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return owner.began == _began(owner.process)


def write_owner(path: Path, owner: Owner) -> None:
    """Put the owner at `path`, whole."""
    write_whole(path, json.dumps(asdict(owner)).encode())


def read_owner(path: Path) -> Owner | None:
    """Return the owner that `path` names; None where it names none."""
    with suppress(OSError, ValueError, TypeError):
        owner = Owner(**json.loads(path.read_bytes()))
        if isinstance(owner.process, int) and owner.process > 0:
            return owner
    return None


@functools.cache  # a fork has another number
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
    with suppress(OSError, IndexError):  # the name, in parentheses, may itself hold blanks
        return Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    return ""
