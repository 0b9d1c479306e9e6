"""What is measured of trained networks beyond their losses.

alignment   how alike two kernels or two representations are
drift       how far training has moved a network
steps       what kind of steps an optimizer takes
spectrum    a kernel's spectrum in a few numbers, exactly or from products
"""

from revgn.measures.alignment import cka, cka_of_kernels, kernel_alignment
from revgn.measures.drift import (
    Probe,
    Representations,
    body_kernel_product,
    drift,
    kernel_rate,
    label_alignment,
    make_probe,
    representations,
)
from revgn.measures.spectrum import (
    Estimate,
    Spectrum,
    estimate_alignment,
    estimate_alignment_along,
    estimate_change,
    estimate_trace,
    spectrum,
)
from revgn.measures.steps import cosine, gradient_noise, inverses_cosine, kernel_change, step_excess

__all__ = [
    "Estimate",
    "Probe",
    "Representations",
    "Spectrum",
    "body_kernel_product",
    "cka",
    "cka_of_kernels",
    "cosine",
    "drift",
    "estimate_alignment",
    "estimate_alignment_along",
    "estimate_change",
    "estimate_trace",
    "gradient_noise",
    "inverses_cosine",
    "kernel_alignment",
    "kernel_change",
    "kernel_rate",
    "label_alignment",
    "make_probe",
    "representations",
    "spectrum",
    "step_excess",
]
