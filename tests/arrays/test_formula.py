"""Formulas are translated to C, and have the right values on a GPU."""

from functools import partial

import numpy as np
import pytest

from revgn.arrays import array_namespace, blockwise, fetch, fuse, instant, seconds_between, to_host, total
from revgn.arrays.formula import Formula
from revgn.testing import assert_close, tolerance


def written(function, *arrays):
    formula = Formula(all(not x.ndim for x in arrays))
    results = function(*map(formula.array, arrays))
    return formula.declarations, formula.lines, [(x.name, str(x.dtype)) for x in results], formula.arguments


def test_a_formula_is_translated_to_c():
    x, mask = np.ones((2, 3), np.float32), np.ones((2, 3), bool)

    def function(x, mask):
        xp = array_namespace(x)
        return xp.where(mask, x, xp.zeros_like(x)), 2.0 * xp.sqrt(x) > 1.0

    declarations, lines, results, arguments = written(function, x, mask)
    assert declarations == ["float32 x0", "bool x1", "float32 x2", "float32 x3", "float32 x4"]
    assert lines == [
        "auto t0 = x0;",
        "auto t1 = x1;",
        "auto t2 = where(t1, t0, x2);",
        "auto t3 = sqrt(t0);",
        "auto t4 = x3 * t3;",
        "auto t5 = t4 > x4;",
    ]
    assert results == [("t2", "float32"), ("t5", "bool")]
    assert arguments[2:] == [0.0, 2.0, 1.0]


def test_formulas_with_different_numbers_share_their_code():
    x = np.ones(3)
    first, second = (written(lambda u, a=a: (a * u + a,), x) for a in (2.0, np.float64(3.0)))
    assert first[:3] == second[:3]
    assert second[3][1:] == [3.0, 3.0]


def test_a_0d_array_is_broadcast_to_all_elements():
    x, size = np.ones((2, 3)), np.asarray(2.0)
    assert written(lambda u: (u / size,), x)[0] == ["float64 x0", "raw float64 x1"]
    assert written(lambda u: (u / size,), size)[0] == ["float64 x0", "float64 x1"]


def test_integers_are_converted_to_floats(backend, dtype):
    x = backend.backend.asarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    shift = backend.asarray([1.0, 2.0, 3.0], dtype)

    def function(u):
        return (array_namespace(u).astype(u, shift.dtype) - shift,)

    found = blockwise(function, x)[0]
    assert np.array_equal(to_host(found), [[-1.0, -1.0, -1.0], [2.0, 2.0, 2.0]])


@pytest.mark.parametrize("a", [2.0, -3.0])
def test_a_formula_with_numbers_and_0d_arrays(a, backend, dtype):
    x = backend.asarray(np.arange(6.0).reshape(2, 3), dtype)
    size = backend.asarray(4.0, dtype)
    (found,) = blockwise(lambda u: (1.0 - (a * u) / size,), x)
    expected = backend.asarray(1.0 - a * np.arange(6.0).reshape(2, 3) / 4.0, dtype)
    assert_close("formula", found, expected, tolerance(found.dtype, "map"))


@pytest.mark.parametrize(
    "backend",
    ["numpy", "strict:device1", "cupy:stand-in", pytest.param("cupy", marks=pytest.mark.gpu)],
    indirect=True,
)
def test_results_may_overwrite_operands(backend):
    x, y = (backend.asarray(np.full((2, 3), a)) for a in (5.0, 3.0))
    found = blockwise(lambda u, v: (u + v, u - v), x, y, out=(x, y))
    assert found[0] is x
    assert found[1] is y
    assert np.all(to_host(x) == 8.0)
    assert np.all(to_host(y) == 2.0)
    strided = backend.asarray(np.zeros((2, 4)))
    blockwise(lambda u: (u, u > 6.0), x, out=(strided[:, 1:], None))
    assert np.array_equal(to_host(strided), [[0.0, 8.0, 8.0, 8.0]] * 2)


def test_sum_of_0d_arrays(backend, dtype):
    numbers = [backend.asarray(x, dtype) for x in (1.0, 2.5, 4.0)]
    assert float(total(numbers)) == 7.5
    assert total([]) == 0.0


def test_seconds_between_instants_are_not_negative(backend, dtype):
    x = backend.asarray(1.0, dtype)
    start = instant(x)
    end = instant(x)
    fetch([x])
    assert 0.0 <= seconds_between(start, end) < 10.0


@pytest.mark.parametrize("backend", ["numpy", "strict:device1", "cupy:stand-in"], indirect=True)
def test_a_function_is_traced_once_for_each_combination_of_dtypes(backend):
    calls = []

    def product(x, y):
        calls.append(x)
        return (x * y,)

    function = fuse(product)
    for dtype in ("float32", "float64", "float32"):
        for shape in ((2, 3), (4,)):
            x = backend.asarray(np.ones(shape), dtype)
            (found,) = blockwise(function, x, 3 * x)
            assert found.dtype == x.dtype
            assert np.array_equal(to_host(found), np.full(shape, 3.0))
    assert len(calls) == (2 if backend.backend.name == "cupy" else 6)


def _shifted(a, x):
    return (x + a,)


@pytest.mark.parametrize("backend", ["numpy", "strict:device1", "cupy:stand-in"], indirect=True)
@pytest.mark.parametrize("make", [lambda a: lambda x: (x + a,), lambda a: partial(_shifted, a)])
def test_numbers_of_a_function_are_read_anew(make, backend):
    x = backend.asarray(np.ones((2, 3)))
    for a in (2.0, 3.0):
        assert np.array_equal(to_host(blockwise(make(a), x)[0]), np.full((2, 3), 1 + a))
