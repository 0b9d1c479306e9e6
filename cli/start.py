"""Entry of the command `revgn`: Ctrl-C while modules are imported ends it with one line.

An interrupt in the middle of an import leaves modules half loaded, and libraries raise other errors from it.
"""

import os
import signal
from types import FrameType
from typing import Any


def main() -> Any:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it may be ignored, as under nohup
        signal.signal(signal.SIGINT, _interrupted)
    from revgn_cli.main import main as command

    return command()


def _interrupted(number: int, frame: FrameType | None) -> None:
    """End the process at once if a module is being imported; otherwise raise `KeyboardInterrupt`."""
    at = frame
    while at is not None:
        if at.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"revgn: stopped\n")
            os._exit(128 + number)
        at = at.f_back
    signal.default_int_handler(number, frame)
