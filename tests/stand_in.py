"""Temporary replacement of CuPy by its stand-in."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import array_api_compat

FOLDER = Path(__file__).parent / "cupy_stand_in"
_NAMES = ("cupy", "cupyx", "array_api_compat.cupy")
_LOADED: dict[str, ModuleType] = {}  # modules of the stand-in, which are loaded once


@contextmanager
def cupy_stand_in() -> Iterator[ModuleType]:
    """Yield the stand-in; `import cupy` imports it within the block, and CuPy itself afterwards."""
    own = _exchange(_LOADED)
    sys.path.insert(0, str(FOLDER))
    try:
        import cupy

        yield cupy
    finally:
        sys.path.remove(str(FOLDER))
        _LOADED.update(_exchange(own))


def _exchange(modules: dict[str, ModuleType]) -> dict[str, ModuleType]:
    """Replace the loaded modules of CuPy by `modules`; return the replaced ones."""
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_named(name)}
    sys.modules.update(modules)
    vars(array_api_compat).pop("cupy", None)
    if "array_api_compat.cupy" in modules:
        array_api_compat.cupy = modules["array_api_compat.cupy"]
    return before


def _is_named(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in _NAMES)
