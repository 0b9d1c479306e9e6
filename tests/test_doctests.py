"""The examples in docstrings run, and public functions have one."""

import doctest
import importlib
import inspect
import pkgutil

import revgn

MODULES = ["revgn", *(module.name for module in pkgutil.walk_packages(revgn.__path__, "revgn."))]
WITHOUT = {  # shown by examples/, where they take more than a few lines
    *("factor_params", "solve_params", "pinv_params"),
    *("weight_forms", "to_matrices", "from_matrices", "row_features", "with_features", "row_cotangents"),
    *("kernel_parts", "moved_halves", "linear_features"),
    *("train_step", "start_run", "resume_run", "evaluate_run", "rebuild", "list_runs", "open_run"),
    *("open_runs", "to_pandas", "to_xarray"),
}


def test_examples_run():
    """What they give in place of what they say is in the captured output."""
    assert [name for name in MODULES if doctest.testmod(importlib.import_module(name)).failed] == []


def test_examples_of_generic_functions_run():
    """A generic function is of functools, by which `testmod` does not take it for one of its module."""
    runner, finder = doctest.DocTestRunner(), doctest.DocTestFinder()
    generics = {name: each for name in revgn.__all__ if hasattr(each := getattr(revgn, name), "register")}
    for name, function in generics.items():
        names = vars(importlib.import_module(function.__module__))
        for test in finder.find(function, name, module=False, globs=dict(names)):
            runner.run(test)
    found = runner.summarize()
    assert (found.failed, found.attempted > 50) == (0, True)


def test_public_functions_have_examples():
    functions = {name: getattr(revgn, name) for name in revgn.__all__}
    lacking = {
        name
        for name, function in functions.items()
        if inspect.isfunction(function) and ">>> " not in (function.__doc__ or "")
    }
    assert lacking <= WITHOUT
