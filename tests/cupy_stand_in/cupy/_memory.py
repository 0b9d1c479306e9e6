"""The memory pool: bytes in use, with a limit beyond which an array cannot be made."""


class OutOfMemoryError(MemoryError):
    def __init__(self, size: int, total: int, limit: int) -> None:
        super().__init__(
            f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes, limit set to: "
            f"{limit:,} bytes)."
        )


class MemoryPool:
    def __init__(self) -> None:
        self.used = self.most = self.limit = 0

    def used_bytes(self) -> int:
        return self.used

    def total_bytes(self) -> int:
        """Bytes taken from the device: what is free again stays in the pool."""
        return self.most

    def free_bytes(self) -> int:
        return self.most - self.used

    def free_all_blocks(self, stream: object = None) -> None:
        self.most = self.used

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        """Bytes that may be in use; 0 is no limit."""
        self.limit = int(size or 0)

    def get_limit(self) -> int:
        return self.limit


POOL = MemoryPool()


class Block:
    """Memory of an array, which its views share."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = 0
        if POOL.limit and POOL.used + size > POOL.limit:
            raise OutOfMemoryError(size, POOL.used, POOL.limit)
        self.size = size
        POOL.used += size
        POOL.most = max(POOL.most, POOL.used)

    def __del__(self) -> None:
        POOL.used -= self.size
