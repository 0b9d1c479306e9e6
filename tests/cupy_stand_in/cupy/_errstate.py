"""`cupyx.errstate`, which determines whether a failed decomposition raises an error."""

from collections.abc import Iterator
from contextlib import contextmanager

_LINALG = ["ignore"]  # CuPy's default


def raises() -> bool:
    return _LINALG[-1] == "raise"


@contextmanager
def errstate(*, linalg: str | None = None) -> Iterator[None]:
    if linalg not in (None, "ignore", "raise"):
        raise NotImplementedError(f"linalg={linalg!r}")
    _LINALG.append(linalg or _LINALG[-1])
    try:
        yield
    finally:
        _LINALG.pop()
