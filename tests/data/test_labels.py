import numpy as np
import pytest

from revgn.data.labels import encode_targets, infer_task
from revgn.errors import DataError

K = np.arange(12) % 3
WORDS = np.array(["cat", "ant", "bee"])


def encode(training, test=None, choice="auto", **options):
    raw = {"training": np.asarray(training)} | ({} if test is None else {"test": np.asarray(test)})
    return encode_targets("own", raw, choice, **options)


@pytest.mark.parametrize(
    ("labels", "names", "index"),
    [
        (K, "0 1 2", K),
        (K.astype(np.uint8), "0 1 2", K),
        (K.astype(">i4"), "0 1 2", K),
        (K + 1, "1 2 3", K),
        (K - 1, "-1 0 1", K),
        (np.array([4, 2, 9])[K], "2 4 9", np.array([1, 0, 2])[K]),
        (np.where(K == 1, 2**40, 0), "0 1099511627776", K == 1),
        (K.astype(np.float16), "0 1 2", K),
        (K.astype(np.float32), "0 1 2", K),
        (K.astype(float) + 1, "1 2 3", K),
        (np.where(K == 1, -1.0, 1.0), "-1 1", K != 1),
        (K == 1, "False True", K == 1),
        (WORDS[K], "ant bee cat", np.array([2, 0, 1])[K]),
        (WORDS[K].astype("S"), "ant bee cat", np.array([2, 0, 1])[K]),
        (K[:, np.newaxis], "0 1 2", K),
        *((np.eye(3)[K].astype(dtype), "0 1 2", K) for dtype in ("f8", "f2", "u1", "i8", "?")),
    ],
)
def test_labels_of_any_kind_are_mapped(labels, names, index):
    found = encode(labels, labels[::-1])
    assert (found.task, found.names) == ("classification", tuple(names.split()))
    expected = np.eye(len(found.names))[index.astype(int)]
    np.testing.assert_array_equal(found.targets[0], expected)
    np.testing.assert_array_equal(found.targets[1], expected[::-1])


@pytest.mark.parametrize(
    ("targets", "task"),
    [
        (np.arange(100) % 7 * 100 + 1999, "classification"),  # 7 labels with gaps, 14 rows each
        (np.arange(100) % 30 * 100 + 1999, "regression"),  # 30 prices, 3 rows each
        (
            np.arange(4000) % 1000 // 10 * 10 + np.minimum(np.arange(4000) % 10, 8),
            "classification",
        ),  # 0..998, few gaps
        (np.arange(100), "regression"),
        (np.arange(100) % 50, "classification"),  # without gaps, 2 rows each
        (np.arange(100) % 51, "regression"),
        (np.arange(2000) % 101 * 2, "regression"),
        (np.arange(12.0) % 3 + 0.5, "regression"),
        (np.arange(12.0) % 4, "regression"),  # floats with fewer than 4 rows each
        (np.arange(12.0) % 3 * 10, "regression"),
        (np.array([2.0**60, 2.0**70] * 6), "regression"),
        (np.stack((K, K), axis=1), "regression"),
        (np.eye(3)[K] * 0.9, "regression"),
        (np.array([[1, 1], [0, 1]] * 6), "regression"),
    ],
)
def test_whole_numbers_are_labels_only_if_they_look_like_it(targets, task):
    assert infer_task(targets)[0] == task


def test_labels_of_eight_bits_are_classes():
    """The span from -120 to 120 is more than eight bits hold."""
    labels = np.repeat(np.linspace(-120, 120, 30).astype(np.int8), 20)
    assert infer_task(labels) == infer_task(labels.astype(int))
    assert infer_task(np.arange(256, dtype=np.uint8).repeat(3)) == infer_task(np.arange(256).repeat(3))


def test_the_task_can_be_set_either_way():
    prices = np.array([100, 250, 400, 100, 250, 400])
    np.testing.assert_array_equal(encode(prices, choice="regression").targets[0][:, 0], prices)
    assert encode(prices, choice="classification").names == ("100", "250", "400")
    assert encode(K + 0.5, choice="classification").names == ("0.5", "1.5", "2.5")
    np.testing.assert_array_equal(encode(np.eye(3)[K], choice="regression").targets[0], np.eye(3)[K])


def test_labels_of_the_test_set_are_matched_by_name():
    whole, floats = encode(K + 1, (K + 1.0)[:2]), encode(WORDS[K], WORDS[:2].astype("S"))
    np.testing.assert_array_equal(whole.targets[1], np.eye(3)[[0, 1]])
    np.testing.assert_array_equal(floats.targets[1], np.eye(3)[[2, 0]])


@pytest.mark.parametrize(
    ("training", "test", "choice", "message"),
    [
        (K, K + 1, "auto", "test targets: label '3' in row 2 .* not one of the 3 classes '0' to '2'"),
        (WORDS[K], ["dog"], "auto", "label 'dog' in row 0"),
        (
            WORDS[K],
            None,
            "regression",
            "training targets hold text, such as 'cat'; a regression expects numbers",
        ),
        (
            np.linspace(0, 1, 12),
            None,
            "classification",
            "12 rows have 12 different numbers; is it a regression",
        ),
        (np.stack((K, K), 1), None, "classification", "expected one label or a one-hot row per row"),
        (np.eye(3)[K], np.eye(2), "auto", "training targets have 3 columns, test targets 2"),
        (np.eye(3)[K], K, "auto", "test targets have shape .* expected one label or a one-hot row"),
        (K, np.eye(3), "auto", "expected one label per row"),
        (np.zeros(4, int), None, "auto", "all rows are of one class, '0'"),
        (np.arange(10_001).astype(str), None, "auto", "10001 different labels; is this a regression"),
        (np.zeros(3, "M8[D]"), None, "auto", "dtype datetime64"),
    ],
)
def test_targets_that_do_not_fit_are_an_error(training, test, choice, message):
    with pytest.raises(DataError, match=message) as caught:
        encode(training, test, choice)
    assert str(caught.value).startswith("own: ")
