"""What is measured of trained networks beyond their losses.

alignment   how alike two kernels or two representations are
spectrum    a kernel's spectrum in a few numbers, exactly or from products
"""

from revgn.studies.alignment import cka, cka_of_kernels, kernel_alignment
from revgn.studies.spectrum import Estimate, Spectrum, estimate_alignment, estimate_trace, spectrum

__all__ = [
    "Estimate",
    "Spectrum",
    "cka",
    "cka_of_kernels",
    "estimate_alignment",
    "estimate_trace",
    "kernel_alignment",
    "spectrum",
]
