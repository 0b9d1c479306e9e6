"""Threads of two linear algebra libraries side by side, set before either is loaded.

NumPy and SciPy bring an OpenBLAS each, whose threads spin for tens of milliseconds after a call: a product
after a factorization then takes twice its time. Here the wait is made short, unless the environment sets it.
"""

import os

os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")  # 2^20 cycles, a third of a millisecond
