"""The examples in docstrings run, and public functions have one."""

import doctest
import importlib.util
import inspect
import pkgutil

import revgn

OF_TORCH = {"revgn.convert.build", "revgn.convert.modules"}  # can be imported where PyTorch is installed
LEFT_OUT = set() if importlib.util.find_spec("torch") else OF_TORCH
MODULES = [
    "revgn",
    *(
        module.name
        for module in pkgutil.walk_packages(revgn.__path__, "revgn.")
        if module.name not in LEFT_OUT
    ),
]


def failures(module):
    """Number of failed examples; all of them can use the names defined in the docstring of the module."""
    runner, finder = doctest.DocTestRunner(), doctest.DocTestFinder()
    own = doctest.DocTestParser().get_doctest(
        module.__doc__ or "", vars(module), module.__name__, module.__file__, 0
    )
    runner.run(own, clear_globs=False)
    tests = [test for test in finder.find(module, globs=own.globs) if test.name != module.__name__]
    for name, function in vars(module).items():  # the finder omits generic functions
        if hasattr(function, "dispatch") and function.__module__ == module.__name__:
            tests += finder.find(function, name, module=False, globs=own.globs)
    for test in tests:
        runner.run(test)
    return runner.failures


def test_examples_run(tmp_path, monkeypatch):
    """There is a finished run, runs/first. The captured output contains the wrong results of examples."""
    monkeypatch.chdir(tmp_path)
    settings = {
        "data": {"subset": 100},
        "network": {"hidden": 16},
        "training": {"batch_size": 50, "steps": 3},
    }
    revgn.start_run(revgn.build_config(settings), "runs/first")
    assert [name for name in MODULES if failures(importlib.import_module(name))] == []


def test_public_functions_have_examples():
    functions = {name: getattr(revgn, name) for name in revgn.__all__}
    lacking = {
        name
        for name, function in functions.items()
        if inspect.isfunction(function) and ">>> " not in (function.__doc__ or "")
    }
    assert lacking == set()
