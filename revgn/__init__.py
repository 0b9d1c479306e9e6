"""revgn: exact Gauss-Newton training of reversible networks with hand-derived derivatives, on NumPy and CuPy.

A layer is a plain immutable struct, and its parameters are arguments and results of functions. Every map of a
layer is a free function with one documented law, selected by the type of its first argument. The subpackages,
from the lowest to the highest:

    arrays      the only code that distinguishes NumPy from CuPy
    trees       parameters as vectors
    linalg      Gram matrices, factorizations, pseudoinverses, conjugate gradients
    data        data sets and batches
    maps        the maps of a layer: forward, inverse, jvp, vjp, pseudoinverse
    layers      couplings, convolutions, squeeze and readout
    networks    chains, activations kept or recomputed; dense and convolutional networks
    convert     networks from and to PyTorch (loaded on demand)
    losses      squared error, cross-entropy
    solvers     solvers of J D = eps: block-wise, minimum norm (dense, tiled, or by conjugate gradients)
    optimizers  Gauss-Newton, SGD, Adam, Muon, SOAP, K-FAC, L-BFGS; combinations of optimizers; step lengths
    settings    the configuration of a run
    analysis    tangent kernels, spectra, representations, steps: one registry of quantities
    training    problem, step, evaluation, loop
    store       the run folder (loaded on demand)
    launch      start, resume, evaluate, rebuild and check runs (loaded on demand)
    views       tables, comparisons, plots and reports of runs (loaded on demand)
    sweeps      sweeps of runs: grids, claims, workers, tuning (loaded on demand)
    studies     research questions with their sweeps and verdicts (loaded on demand)
    testing     the laws as test functions, for layers of your own (loaded on demand)

Modules beside them: `errors`, `structs` (settings as immutable structs) and `cost` (operations and memory).
"""

import importlib
from typing import Any

from revgn import trees
from revgn.arrays import Backend, Grid, select_backend
from revgn.data import Dataset, load_dataset, take_batch
from revgn.errors import (
    BackendError,
    DataError,
    MemoryShortageError,
    RevgnError,
    RunError,
    ShapeError,
    UnsupportedMapError,
    UsageError,
)
from revgn.layers import (
    Coupling,
    CouplingParams,
    LinearFeatures,
    RandomFeatures,
    Readout,
    Squeeze,
    draw_convolution,
    draw_coupling,
    draw_readout,
    linear_features,
    trained_features,
)
from revgn.linalg import PAPER_RULE, PinvInfo, PinvRule
from revgn.losses import CrossEntropy, SquaredError, accuracy, output_step
from revgn.losses import gradient as loss_gradient
from revgn.losses import value as loss_value
from revgn.maps import (
    Halves,
    KernelPart,
    ParamsStep,
    WeightForm,
    factor_params,
    forward,
    from_matrices,
    init,
    inverse,
    jvp,
    jvp_input,
    jvp_inverse,
    jvp_params,
    kernel_parts,
    linearize,
    linearize_inverse,
    moved_halves,
    pinv_params,
    positions,
    row_cotangents,
    row_features,
    solve_params,
    to_matrices,
    vjp,
    vjp_input,
    vjp_params,
    vjp_rows,
    weight_forms,
    with_features,
)
from revgn.networks import REFERENCE, Architecture, Chain, Convolutional, Network, Padding, draw_network
from revgn.optimizers import (
    KFAC,
    LBFGS,
    SGD,
    SOAP,
    Adam,
    Backtracking,
    Blend,
    Constant,
    Cosine,
    Direction,
    FeatureMetric,
    GaussNewton,
    LevenbergMarquardt,
    Linearization,
    Muon,
    Orthogonalized,
    Paced,
    StepDecay,
    Switch,
    Update,
    batch_gradient,
    direction,
    init_state,
    update,
)
from revgn.settings import Config, build_config
from revgn.solvers import (
    BlockWise,
    ConjugateGradients,
    MinimumNorm,
    apply,
    apply_adjoint,
    jacobian,
    jacobian_operator,
    kernel_operator,
    solve,
    tangent_kernel,
)
from revgn.training import build_problem, choose_defaults, initial_state, load_data, train, train_step

_ON_DEMAND = {
    "evaluate_run": "revgn.launch",
    "launch": "revgn.launch",
    "list_runs": "revgn.store",
    "open_run": "revgn.store",
    "open_runs": "revgn.store",
    "predict": "revgn.launch",
    "rebuild": "revgn.launch",
    "resume_run": "revgn.launch",
    "start_run": "revgn.launch",
    "store": "revgn.store",
    "to_pandas": "revgn.views",
    "to_xarray": "revgn.views",
    "views": "revgn.views",
    "testing": "revgn.testing",
    "Plan": "revgn.sweeps",
    "parse_axis": "revgn.sweeps",
    "load_plan": "revgn.sweeps",
    "run_sweep": "revgn.sweeps",
    "compare_runs": "revgn.views",
    "convert": "revgn.convert",
    "draw_curves": "revgn.views",
    "Group": "revgn.views",
}

__version__ = "0.2.0.dev0"
__all__ = [
    "KFAC",
    "LBFGS",
    "PAPER_RULE",
    "REFERENCE",
    "SGD",
    "SOAP",
    "Adam",
    "Architecture",
    "Backend",
    "BackendError",
    "Backtracking",
    "Blend",
    "BlockWise",
    "Chain",
    "Config",
    "ConjugateGradients",
    "Constant",
    "Convolutional",
    "Cosine",
    "Coupling",
    "CouplingParams",
    "CrossEntropy",
    "DataError",
    "Dataset",
    "Direction",
    "FeatureMetric",
    "GaussNewton",
    "Grid",
    "Halves",
    "KernelPart",
    "LevenbergMarquardt",
    "LinearFeatures",
    "Linearization",
    "MemoryShortageError",
    "MinimumNorm",
    "Muon",
    "Network",
    "Orthogonalized",
    "Paced",
    "Padding",
    "ParamsStep",
    "PinvInfo",
    "PinvRule",
    "RandomFeatures",
    "Readout",
    "RevgnError",
    "RunError",
    "ShapeError",
    "SquaredError",
    "Squeeze",
    "StepDecay",
    "Switch",
    "UnsupportedMapError",
    "Update",
    "UsageError",
    "WeightForm",
    "accuracy",
    "apply",
    "apply_adjoint",
    "batch_gradient",
    "build_config",
    "build_problem",
    "choose_defaults",
    "direction",
    "draw_convolution",
    "draw_coupling",
    "draw_network",
    "draw_readout",
    "evaluate_run",
    "factor_params",
    "forward",
    "from_matrices",
    "init",
    "init_state",
    "initial_state",
    "inverse",
    "jacobian",
    "jacobian_operator",
    "jvp",
    "jvp_input",
    "jvp_inverse",
    "jvp_params",
    "kernel_operator",
    "kernel_parts",
    "linear_features",
    "linearize",
    "linearize_inverse",
    "list_runs",
    "load_data",
    "load_dataset",
    "loss_gradient",
    "loss_value",
    "moved_halves",
    "open_run",
    "open_runs",
    "output_step",
    "pinv_params",
    "positions",
    "predict",
    "rebuild",
    "resume_run",
    "row_cotangents",
    "row_features",
    "select_backend",
    "solve",
    "solve_params",
    "start_run",
    "take_batch",
    "tangent_kernel",
    "to_matrices",
    "to_pandas",
    "to_xarray",
    "train",
    "train_step",
    "trained_features",
    "trees",
    "update",
    "vjp",
    "vjp_input",
    "vjp_params",
    "vjp_rows",
    "weight_forms",
    "with_features",
]


def __dir__() -> list[str]:
    return sorted({*__all__, *_ON_DEMAND})


def __getattr__(name: str) -> Any:
    if name not in _ON_DEMAND:
        raise AttributeError(f"module 'revgn' has no attribute {name!r}")
    module = importlib.import_module(_ON_DEMAND[name])
    return module if module.__name__.endswith(f".{name}") else getattr(module, name)
