"""Threads of two linear algebra libraries side by side, set before either is loaded.

NumPy and SciPy bring an OpenBLAS each. After a call its threads wait for the next by spinning, for tens of
milliseconds, on the cores that the other library's threads now need: a product after a factorization then
takes twice its time. Here the wait is made short, unless the environment has its own.
"""

import os

os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")  # 2^20 cycles, a third of a millisecond
