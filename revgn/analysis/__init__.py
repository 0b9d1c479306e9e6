"""Analysis of networks during training: tangent kernel, representations, weights, steps; see `QUANTITIES`."""

from revgn.analysis.alignment import cka, cka_of_kernels, kernel_alignment
from revgn.analysis.probe import (
    Ahead,
    Moment,
    Probe,
    Representations,
    body_kernel_product,
    label_alignment,
    make_probe,
    representations,
)
from revgn.analysis.quantities import QUANTITIES, Quantity, measure
from revgn.analysis.spectrum import (
    Estimate,
    Spectrum,
    estimate_alignment,
    estimate_alignment_along,
    estimate_change,
    spectrum,
)
from revgn.analysis.steps import cosine, gradient_noise, kernel_change, solvers_cosine, step_excess

__all__ = [
    "QUANTITIES",
    "Ahead",
    "Estimate",
    "Moment",
    "Probe",
    "Quantity",
    "Representations",
    "Spectrum",
    "body_kernel_product",
    "cka",
    "cka_of_kernels",
    "cosine",
    "estimate_alignment",
    "estimate_alignment_along",
    "estimate_change",
    "gradient_noise",
    "kernel_alignment",
    "kernel_change",
    "label_alignment",
    "make_probe",
    "measure",
    "representations",
    "solvers_cosine",
    "spectrum",
    "step_excess",
]
