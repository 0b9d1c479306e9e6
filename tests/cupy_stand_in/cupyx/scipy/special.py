import scipy.special
from cupy._array import host, ndarray, new
from cupy._counts import launch


def erf(x: ndarray) -> ndarray:
    launch("erf")
    return new(scipy.special.erf(host(x, "erf")))
