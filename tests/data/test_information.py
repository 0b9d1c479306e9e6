import numpy as np
import pytest

from revgn.data.assemble import Rows, assemble
from revgn.data.information import check_target_range
from revgn.data.settings import DataSettings
from revgn.errors import DataError, UsageError

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((30, 8)), np.arange(30) % 3


def make(x=X, y=Y, test=None, columns=tuple("abcdefgh"), **options):
    test = Rows(X[:4], Y[:4]) if test is None else Rows(*map(np.asarray, test))
    return assemble("own", "here", Rows(x, np.asarray(y)), test, DataSettings(**options), columns=columns)


def with_column(column, numbers):
    x = X.copy()
    x[:, column] = numbers
    return x


def test_sound_data_have_no_warnings():
    assert make().warnings == ()
    assert make(y=X[:, 0], test=(X, X[:, 0])).warnings == ()


def test_constant_columns_are_named():
    with_two = with_column(3, 5.0)
    assert make(with_two).warnings == (
        "input column 'd' is constant in the training rows and without effect",
    )
    with_two[:, 1] = 0.1
    assert make(with_two, columns=()).warnings == (
        "input columns 1, 3 are constant in the training rows and without effect",
    )
    with_two[:, 1:] = 0
    (text,) = make(with_two).warnings
    assert text.startswith("input columns 'b', 'c', ")
    assert text.endswith("'f' and 2 more of 8 are constant in the training rows and without effect")


def test_numbers_that_no_precision_can_tell_apart_are_constant():
    """Below 1e-308 a standard deviation has no inverse, and in the network such numbers are zeros."""
    (text,) = make(with_column(2, X[:, 2] * 1e-315), test=(X * 0, Y)).warnings
    assert text.startswith("input column 'c' is constant")
    with pytest.raises(DataError, match="all 8 inputs are constant"):
        make(X * 1e-315)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (
            X * 0,
            Y,
            r"own: all 8 inputs are constant in the 30 training rows \(the first is 0\); there is nothing",
        ),
        (X[:, :1] * 0 + 2, Y, r"own: the input is constant in the 30 training rows \(the first is 2\)"),
        (np.full((30, 4, 4), 9, np.uint8), Y, "all 16 inputs are constant"),
        (
            X,
            Y * 0.0 + 0.5,
            "in the 30 training rows the targets are constant; there is nothing to learn from",
        ),
    ],
)
def test_it_is_an_error_if_nothing_is_left_to_learn_from(x, y, message):
    with pytest.raises(DataError, match=message):
        make(x, y, (x, y), ())


def test_the_subset_decides_what_is_left():
    ordered = np.sort(Y)
    with pytest.raises(
        DataError, match="in the 10 training rows all labels are '0'; there is nothing to learn"
    ):
        make(y=ordered, subset=10)
    assert make(y=ordered, subset=15).warnings == (
        "class '2' is without training rows and cannot be learned",
    )


def test_constant_targets_are_named():
    y = np.stack((X[:, 0], X[:, 0] * 0 + 1.5), axis=1)
    assert make(y=y, test=(X, y)).warnings == ("target 'target1' is constant in the training rows",)


def test_a_column_that_counts_the_rows_is_named():
    for start in (0, 1, 1980):
        (text,) = make(with_column(4, start + np.arange(30)), test=(with_column(4, start), Y)).warnings
        assert text.startswith(
            f"input column 'e' holds consecutive numbers, {start} to {start + 29}; if it is only a row number"
        )
    assert make(with_column(4, np.arange(30) // 2)).warnings == ()


def test_pixels_may_be_constant():
    images = rng.integers(0, 255, (30, 4, 4), dtype=np.uint8)
    images[:, 0] = 0
    assert make(images, test=(images, Y), columns=()).warnings == ()


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (
            X[:, 0] * 1e30,
            r"the targets reach 1.8e\+30, and their squares exceed float32; set data.standardize_targets",
        ),
        (X[:, 0] * 1e-30, r"are at most .*e-30, and their squares vanish in float32"),
        (1e9 + X[:, 0], r"differ by .*e-09 relative to their size, too little for the precision of float32"),
    ],
)
def test_targets_must_fit_the_precision_unless_they_are_standardized(y, message):
    raw = make(y=y, test=(X, y))
    with pytest.raises(UsageError, match=message):
        check_target_range(raw, "float32")
    check_target_range(raw, "float64")
    check_target_range(make(y=y, test=(X, y), standardize_targets=True), "float32")
    check_target_range(make(y=X[:, 0], test=(X, X[:, 0])), "float32")


def test_inputs_far_outside_the_training_rows_are_named():
    (text,) = make(test=(X * [1, 1, 1e9, 1, 1, 1, 1, 1], Y)).warnings
    assert text.startswith("input column 'c' reaches ")
    assert text.endswith(
        "standard deviations of the training rows in the test set; outputs there have no meaning"
    )
