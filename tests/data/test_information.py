import numpy as np
import pytest

from revgn.data.assemble import Rows, assemble
from revgn.data.information import check_target_range
from revgn.data.settings import DataSettings
from revgn.errors import DataError, UsageError

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((30, 8)), np.arange(30) % 3
TEST_X, TEST_Y = rng.standard_normal((20, 8)), np.arange(20) % 3
SUM, TEST_SUM = X.sum(axis=1), TEST_X.sum(axis=1)


def make(x=X, y=Y, test=None, columns=tuple("abcdefgh"), **options):
    test = Rows(TEST_X, TEST_Y) if test is None else Rows(*map(np.asarray, test))
    return assemble("own", "here", Rows(x, np.asarray(y)), test, DataSettings(**options), columns=columns)


def with_column(column, numbers):
    x = X.copy()
    x[:, column] = numbers
    return x


def test_sound_data_have_no_warnings():
    assert make().warnings == ()
    assert make(y=SUM, test=(TEST_X, TEST_SUM)).warnings == ()


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
    (text,) = make(with_column(2, X[:, 2] * 1e-315), test=(TEST_X * 0, TEST_Y)).warnings
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
    y = np.stack((SUM, SUM * 0 + 1.5), axis=1)
    assert make(y=y, test=(TEST_X, y[:20])).warnings == ("target 'target1' is constant in the training rows",)


def test_a_column_that_counts_the_rows_is_named():
    for start in (0, 1, 1980):
        (text,) = make(with_column(4, start + np.arange(30)), test=(TEST_X, TEST_Y)).warnings
        assert text.startswith(
            f"input column 'e' holds consecutive numbers, {start} to {start + 29}; if it is only a row number"
        )
    assert make(with_column(4, np.arange(30) // 2)).warnings == ()


def test_pixels_may_be_constant():
    images = rng.integers(0, 255, (50, 4, 4), dtype=np.uint8)
    images[:, 0] = 0
    assert make(images[:30], test=(images[30:], TEST_Y), columns=()).warnings == ()


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
    (text,) = make(test=(TEST_X * [1, 1, 1e9, 1, 1, 1, 1, 1], TEST_Y)).warnings
    assert text.startswith("input column 'c' reaches ")
    assert text.endswith(
        "standard deviations of the training rows in the test set; outputs there have no meaning"
    )


def test_a_single_training_row_is_an_error():
    with pytest.raises(DataError, match="own: there is only one training row; there is nothing to learn"):
        make(subset=1)


@pytest.mark.parametrize("value", [1e300, -1e39, 9999.0])
def test_columns_that_are_narrow_except_for_extreme_values_are_named(value):
    x = X.copy()
    x[7, 3] = value
    (text,) = make(x).warnings
    assert text.startswith("input column 'd' is practically constant after standardization, except for a few")
    assert f"such as {value:g} in column 'd'; correct them, or leave out their rows" in text


def test_skewed_columns_counts_and_flags_have_no_extreme_values():
    """Lognormal numbers, counts, amounts that are mostly zero, and rare flags."""
    n = 3000
    lognormal = np.exp(3 * rng.standard_normal(n))
    counts = rng.poisson(np.exp(2 * rng.standard_normal(n)))
    amounts = (rng.random(n) < 0.05) * lognormal
    flag = np.arange(n) == 17
    x = np.stack((lognormal, counts, amounts, rng.poisson(0.02, n), flag, flag * 1e30), axis=1)
    test = x[:20] + np.array([0.5, 0, 0, 0, 0, 0])
    assert make(x, y=np.arange(n) % 3, test=(test, TEST_Y), columns=tuple("abcdef")).warnings == ()


def test_extreme_values_of_many_rows_are_found_in_any_place():
    x = np.tile(X, (150, 1)) + 0.1 * rng.standard_normal((4500, 8))
    x[[11, 4000], 5] = 1e6, -1e7
    (text,) = make(x, y=np.tile(Y, 150)).warnings
    assert text.startswith("input column 'f' is practically constant")
    assert "such as -1e+07 in column 'f'" in text


@pytest.mark.parametrize("name", ["a", "c"])
def test_a_column_that_is_the_target_is_named(name):
    y = np.stack((SUM, X[:, "abcdefgh".index(name)]), axis=1)
    (text,) = make(y=y, test=(TEST_X, y[:20])).warnings
    assert text == (
        f"input column '{name}' is equal to a target in the training rows; leave out what is copied from the "
        "target, since it is unknown for new rows"
    )
    y[13, 1] += 1e-9
    assert make(y=y, test=(TEST_X, y[:20])).warnings == ()


def test_a_column_that_encodes_the_class_is_named():
    codes = np.array([7.0, -1.0, 2.5])[Y]
    (text,) = make(with_column(6, codes)).warnings
    assert text.startswith("input column 'g' is in one-to-one correspondence with the class in the training")
    codes[Y == 2] = 7  # the classes 0 and 2 cannot be told apart
    assert make(with_column(6, codes)).warnings == ()


def test_sets_of_few_rows_are_named():
    (text,) = make(test=(TEST_X[:19], TEST_Y[:19])).warnings
    assert text == "the test set has only 19 rows; with fewer than 20, its results are mostly chance"
    (text,) = make(validation=0.01).warnings
    assert text == (
        "the validation set has only 1 row; with fewer than 20, its results and the choice of the best "
        "weights are mostly chance"
    )


@pytest.mark.parametrize("images", [False, True])
def test_rows_of_the_test_and_validation_set_that_are_training_rows_are_counted(images):
    which = rng.integers(0, 30, 400)
    x = np.rint(100 * np.abs(X)).astype(np.uint8)[:, :6].reshape(30, 2, 3) if images else X
    names = () if images else tuple("abcdefgh")
    (text,) = make(x[which], Y[which], test=(x[which], Y[which]), columns=names, validation=0.1).warnings
    assert text == (
        "400 of the 400 test rows and 40 of the 40 validation rows are also training rows, with the same "
        "targets"
    )
    assert make(x, test=(x, (Y + 1) % 3), columns=names).warnings == ()


def test_single_repeated_rows_are_no_matter():
    """Up to 1% of the test rows; zero and minus zero are equal."""
    x = rng.standard_normal((100, 8))
    y = np.arange(100) % 3
    train = with_column(4, np.where(np.arange(30) < 2, -0.0, X[:, 4]))
    x[:2], y[:2] = train[:2] + 0.0, Y[:2]
    (text,) = make(train, test=(x, y)).warnings
    assert text.startswith("2 of the 100 test rows are also training rows")
    assert make(train[1:], Y[1:], test=(x, y)).warnings == ()
