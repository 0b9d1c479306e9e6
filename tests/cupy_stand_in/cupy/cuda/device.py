from __future__ import annotations

from typing import Any

from .._counts import wait


class Device:
    def __init__(self, device: Any = None) -> None:
        self.id = 0 if device is None else int(device)

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *args: object) -> None:
        pass

    compute_capability = "90"

    @property
    def mem_info(self) -> tuple[int, int]:
        from .runtime import memGetInfo

        return memGetInfo()

    def synchronize(self) -> None:
        wait("device")
