"""The matrix-free minimum norm against the dense one, its parts and its preconditioner against formulas."""

import numpy as np
import pytest
from cases import DEFICIENT, NETWORKS, network_case
from reference import dense
from test_jacobian import combinations_of

from revgn.arrays import to_host
from revgn.errors import UsageError
from revgn.solvers import ConjugateGradients, MinimumNorm, apply, apply_adjoint, solve, tangent_kernel
from revgn.solvers.parts import kernel_parts, kernel_product, mean_block, rotated
from revgn.solvers.preconditioner import factor_preconditioner, precondition
from revgn.testing import assert_close, relative_error, tolerance
from revgn.trees import map_leaves

CASES = pytest.mark.parametrize("case", [*NETWORKS, *DEFICIENT], ids=lambda case: case.name)
BUILDS = {"blocks": {"directions": 8}, "small blocks": {"directions": 8, "block_samples": 2}, "none": {}}
"""E
