"""The examples in docstrings run, and public functions have one."""

import doctest
import importlib
import inspect
import pkgutil

import revgn

MODULES = ["revgn", *(module.name for module in pkgutil.walk_packages(revgn.__path__, "revgn."))]
WITHOUT = {  # maps of layers and what takes a run of its own: the README and examples/ show them
    *("factor_params", "forward", "init", "inverse", "linearize", "linearize_inverse"),
    *("weight_forms", "to_matrices", "from_matrices", "row_features", "with_features", "row_cotangents"),
    *("kernel_parts", "moved_halves"),
    *("jvp_input", "jvp_inverse", "jvp_params", "vjp_input", "vjp_params", "pinv_params", "solve_params"),
    *("draw_coupling", "linear_features", "draw_network", "draw_readout"),
    *(
        "jacobian",
        "jacobian_operator",
        "kernel_operator",
        "apply",
        "apply_adjoint",
        "solve",
        "tangent_kernel",
    ),
    *(
        "init_state",
        "direction",
        "update",
        "batch_gradient",
        "build_config",
        "build_problem",
        "initial_state",
        "load_data",
    ),
    *("train", "train_step", "start_run", "resume_run", "evaluate_run", "rebuild", "list_runs", "open_run"),
    *("open_runs", "to_pandas", "to_xarray"),
}


def test_examples_run():
    """What they give in place of what they say is in the captured output."""
    assert [name for name in MODULES if doctest.testmod(importlib.import_module(name)).failed] == []


def test_public_functions_have_examples():
    functions = {name: getattr(revgn, name) for name in revgn.__all__}
    lacking = {
        name
        for name, function in functions.items()
        if inspect.isfunction(function) and ">>> " not in (function.__doc__ or "")
    }
    assert lacking <= WITHOUT
