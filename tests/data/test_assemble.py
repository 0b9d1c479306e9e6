import numpy as np
import pytest

from revgn.data.assemble import Rows, assemble
from revgn.data.settings import DataSettings
from revgn.errors import DataError, UsageError

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((12, 4)), np.arange(12) % 3


def make(x=X, y=Y, test=None, **options):
    test = None if test is None else Rows(*map(np.asarray, test))
    return assemble("own", "here", Rows(np.asarray(x), np.asarray(y)), test, DataSettings(**options))


def with_value(value, row, column):
    x = X.copy()
    x[row, column] = value
    x[11, 3] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X[:, 0], Y, r"shape \(12,\)"),
        (X[:0], Y[:0], "nothing to train on"),
        (
            np.zeros(12, [("a", "f8"), ("b", "i4")]),
            Y,
            "training inputs are records of a, b; expected an array",
        ),
        (X[:, :0], Y, "nothing to train on"),
        (X, Y[:-1], "numbers of rows differ"),
        (X, np.int64(1), "numbers of rows differ"),
        (X.astype(str), Y, "dtype <U"),
        (X.astype(complex), Y, "dtype complex128"),
        (
            with_value(np.nan, 2, 1),
            Y,
            r"values are missing in 2 of 12 rows \(1 in input column 1, 1 in input",
        ),
        (with_value(np.inf, 2, 1), Y, "2 of 48 numbers are not finite; the first is inf in row 2, column 1"),
        (with_value(-np.inf, 0, 0), Y, "the first is -inf in row 0, column 0"),
        (
            X,
            np.where(Y == 1, np.nan, 0.5),
            "in 4 of 12 rows .*, first in row 1 .*, target column 0; set drop",
        ),
        (X, np.where(Y == 1, np.inf, 0.5), "4 of 12 numbers are not finite; the first is inf in row 1"),
        (X, Y * 0, "one class"),
        (X * 0 + 3, Y, r"all 4 inputs are constant in the 10 training rows \(the first is 3\)"),
        (X, Y * 0 + 2.5, "the targets are constant; there is nothing to learn from"),
        (X, Y.astype(complex), "dtype complex128"),
        (X, Y.astype(object), "dtype object"),
        (X, X[:, :0], r"shape \(12, 0\); expected"),
        (X, X.reshape(12, 2, 2), r"shape \(12, 2, 2\); expected"),
        (X, Y.astype(str)[:, np.newaxis].repeat(2, axis=1), "hold text; expected one label per row"),
        (X * 0 + 1.7e308, Y, "too large"),
        (X.astype(np.longdouble) * np.longdouble("1e4000"), Y, "inputs: 48 of 48 numbers are not finite"),
        (X, np.full(12, np.longdouble("1e4000")), "targets: 12 of 12 numbers are not finite"),
        (X[:1], Y[:1] + 0.5, "test_fraction: 0.2 of 1 row leaves no training"),
    ],
)
def test_unsuitable_rows_give_an_error_of_one_line(x, y, message):
    with pytest.raises(DataError, match=message) as caught:
        make(x, y)
    assert str(caught.value).startswith(("own", "normalization"))
    assert "\n" not in str(caught.value)


def test_the_test_set_must_fit_the_training_set():
    for test, message in [
        ((X[:, :3], Y), "test inputs"),
        ((X, Y + 1), "test targets: label '3' in row 2 .* not one of the 3 classes '0' to '2'"),
        ((with_value(np.inf, 5, 0), Y), "test inputs: 2 of 48"),
    ]:
        with pytest.raises(DataError, match=message):
            make(test=test)
    with pytest.raises(DataError, match="have 2 columns, test targets 1"):
        make(y=X[:, :2], test=(X, X[:, 0]))
    with pytest.raises(DataError, match="label 'b' in row 1"):
        make(y=np.array(["a", "c"])[Y % 2], test=(X[:2], ["a", "b"]))


def test_the_task_can_be_set():
    as_labels, as_numbers = make(y=Y.astype(float), task="classification"), make(task="regression")
    np.testing.assert_array_equal(as_labels.train.targets.argmax(axis=1), as_numbers.train.targets[:, 0])
    assert as_numbers.classes == as_numbers.target_names == ("target0",)


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [
        ((12, 4, 5), (1, 4, 5)),
        ((12, 3, 4, 5), (3, 4, 5)),
        ((12, 4, 5, 3), (3, 4, 5)),
        ((12, 4, 5, 1), (1, 4, 5)),
        ((12, 3, 4, 3), None),
        ((12, 2, 4, 5), None),
        ((12, 2, 2, 2, 2), None),
    ],
)
def test_inputs_that_are_certainly_images_are_flattened_channels_first(shape, image_shape):
    x = rng.integers(0, 256, shape, dtype=np.uint8)
    dataset = make(x, test=(x, Y))
    assert dataset.image_shape == image_shape
    assert dataset.train.inputs.dtype == np.uint8
    expected = x.transpose(0, 3, 1, 2) if shape[1:] in ((4, 5, 3), (4, 5, 1)) else x
    np.testing.assert_array_equal(dataset.train.inputs, expected.reshape(12, -1))


def test_a_table_is_normalized_per_column_and_a_constant_has_scale_one():
    x = X * [1, 1e6, 0, 1e-6] + [0, 5, 0.1, 7]
    dataset = make(x, test=(x, Y))
    normalized = (x - dataset.shift) * dataset.scale
    np.testing.assert_allclose(normalized.mean(axis=0), 0, atol=1e-8)
    np.testing.assert_allclose(normalized.std(axis=0), [1, 1, 0, 1], atol=1e-8)
    assert dataset.scale[2] == 1


@pytest.mark.parametrize("factor", [1e-300, 1e-170, 1e170, 1e300])
def test_numbers_whose_squares_overflow_or_vanish_are_normalized(factor):
    """The scales of inputs that are multiplied by a power of two show that no bit is lost."""
    exact = 2.0 ** round(np.log2(factor))
    dataset = make(X * exact, test=(X * exact, Y))
    np.testing.assert_array_equal(dataset.scale * exact, make(test=(X, Y)).scale)
    normalized = (dataset.train.inputs - dataset.shift) * dataset.scale
    np.testing.assert_allclose(normalized.std(axis=0), 1, rtol=1e-13)
    assert "constant" not in str(dataset.warnings)


def test_images_are_normalized_per_channel():
    x = rng.integers(0, 256, (2500, 3, 4, 5), dtype=np.uint8) // np.array([1, 2, 300])[:, None, None]
    x = x.astype(np.uint8)
    dataset = make(x, np.arange(2500) % 2, test=(x[:2], [0, 1]))
    shift, scale = dataset.shift.reshape(3, 20), dataset.scale.reshape(3, 20)
    np.testing.assert_allclose(shift[:, 0], x.mean(axis=(0, 2, 3)), rtol=1e-13)
    np.testing.assert_allclose(scale[:2, 0], 1 / x[:, :2].std(axis=(0, 2, 3)), rtol=1e-13)
    assert (shift == shift[:, :1]).all()
    assert (scale[2] == 1).all()


def test_a_subset_affects_only_the_training_set_and_its_normalization():
    whole, first = make(), make(subset=5)
    drawn, again, other = (make(subset=5, subset_seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.train.inputs, whole.train.inputs[:5])
    np.testing.assert_allclose(first.shift, whole.train.inputs[:5].mean(axis=0), rtol=1e-13)
    np.testing.assert_array_equal(first.test.inputs, whole.test.inputs)
    assert whole.checksum == first.checksum == drawn.checksum
    np.testing.assert_array_equal(drawn.train.inputs, again.train.inputs)
    assert not np.array_equal(drawn.train.inputs, other.train.inputs)
    rows = {tuple(row) for row in whole.train.inputs}
    assert len({tuple(row) for row in drawn.train.inputs} & rows) == 5


@pytest.mark.parametrize(
    "options",
    [
        {"subset": 0},
        {"subset": 11},
        {"subset": 2, "subset_seed": -1},
        {"test_fraction": 0.0},
        {"test_fraction": 1.0},
        {"validation": -0.1},
        {"validation": 1.0},
        {"task": "sorting"},
    ],
)
def test_an_impossible_setting_is_named(options):
    with pytest.raises(UsageError, match=list(options)[-1]):
        make(**options)


def test_validation_rows_are_held_out_of_training():
    whole, held = make(), make(validation=0.3)
    kept = make(validation=0.3, subset=5)
    rows = [{tuple(row) for row in part.inputs} for part in (whole.train, held.train, held.validation)]
    assert (len(rows[2]), rows[1] & rows[2], rows[1] | rows[2]) == (3, set(), rows[0])
    np.testing.assert_array_equal(held.validation.targets.sum(axis=1), 1.0)
    np.testing.assert_array_equal(held.test.inputs, whole.test.inputs)
    np.testing.assert_array_equal(kept.train.inputs, held.train.inputs[:5])
    np.testing.assert_array_equal(kept.validation.inputs, held.validation.inputs)
    np.testing.assert_allclose(held.shift, held.train.inputs.mean(axis=0), rtol=1e-13)
    assert whole.validation is None
    assert whole.checksum == held.checksum
    with pytest.raises(DataError, match=r"own: validation: 0.99 of 10 rows leaves no training rows"):
        make(validation=0.99)
    with pytest.raises(DataError, match=r"own: test_fraction: 0.999 of 12 rows leaves no training rows"):
        make(test_fraction=0.999)
    with pytest.raises(
        UsageError, match=r"subset: 5 is more than the 1 training row that validation 0.9 leaves"
    ):
        make(validation=0.9, subset=5)
    with pytest.raises(UsageError, match=r"subset: 11 is more than the 10 training rows$"):
        make(subset=11)


def test_the_checksum_depends_on_every_bit():
    x = X.copy()
    x[3, 2] = np.nextafter(x[3, 2], 9)
    assert len({make().checksum, make(x).checksum, make(y=(Y + 1) % 3).checksum}) == 3
    assert make().checksum == make(np.asfortranarray(X)).checksum
