"""Deferred results are read together, with one wait for the device."""

import numpy as np
import pytest

from revgn.arrays import Deferred, deferred, read, ready, runs_ahead, to_host, together


@pytest.fixture
def waits(monkeypatch):
    """Arrays that were copied to the host."""
    seen = []
    monkeypatch.setattr(deferred, "to_host", lambda x: seen.append(x) or to_host(x))
    return seen


def test_many_results_are_read_with_one_wait(backend, waits):
    A = np.arange(6.0).reshape(2, 3)
    whole = backend.asarray(A, "float32")
    half, no = backend.asarray(0.5, "float64"), backend.asarray(np.asarray(1.0), "float32") > 2.0
    found = read(
        together(
            [
                Deferred((half, whole), lambda x, X: (x, X)),
                ready("at once"),
                Deferred((no,), bool).then(lambda is_so: not is_so),
            ]
        )
    )
    (x, X), text, turned = found
    assert (x, text, turned) == (0.5, "at once", True)
    assert isinstance(x, float)
    assert X.dtype == np.float64
    np.testing.assert_array_equal(X, A)
    assert len(waits) == int(runs_ahead(whole))


def test_results_without_numbers_need_no_wait(waits):
    assert read(together([ready(1), ready(2)])) == [1, 2]
    assert read(together([])) == []
    assert waits == []


def test_iterations_of_different_length_are_read_in_rounds(backend, waits):
    """The waits are those of the longest iteration, not of all; results keep their places."""
    one = backend.asarray(np.asarray(1.0))

    def counted_down(rounds, number):
        def finish(x):
            return float(x) if rounds == 1 else counted_down(rounds - 1, number + one)

        return Deferred((number,), finish)

    begun = [counted_down(rounds, 10.0 * rounds * one).then(lambda x: -x) for rounds in (1, 3, 2)]
    later = together([*begun, ready(5.0)]).then(lambda found: ready([*found, "end"]))
    assert read(later) == [-10.0, -32.0, -21.0, 5.0, "end"]
    assert len(waits) == 3 * int(runs_ahead(one))
