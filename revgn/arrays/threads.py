"""Shorter waits of OpenBLAS threads, set before NumPy and SciPy are imported.

NumPy and SciPy each contain an OpenBLAS. Its threads spin for tens of milliseconds after a call, so a NumPy
product after a SciPy factorization takes twice as long. This module shortens the wait, unless
OPENBLAS_THREAD_TIMEOUT is set already.
"""

import os

os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")  # 2^20 cycles, a third of a millisecond
