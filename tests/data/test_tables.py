import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from revgn.data import load_dataset
from revgn.data.tables import read_csv
from revgn.errors import DataError, UsageError


@pytest.fixture
def table(tmp_path):
    def write(text):
        path = tmp_path / "own.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def test_columns_quotes_and_blank_lines(table):
    path = table('\ufeff"a, b", kind ,c\r\n1,ant," 2.5"\r\n\r\n-3e1,"be,e",4\r\n')
    rows, columns, targets = read_csv(path, "kind", "auto")
    np.testing.assert_array_equal(rows.inputs, [[1, 2.5], [-30, 4]])
    assert rows.targets.tolist() == ["ant", "be,e"]
    assert (columns, targets) == (("a, b", "c"), ("kind",))


@pytest.mark.parametrize(
    ("cells", "task", "kind", "chosen"),
    [
        ("0 1 1", "auto", "i", "classification"),
        ("0 1 1", "regression", "f", "regression"),
        ("0.5 1 1", "auto", "f", "regression"),
        ("b a b", "auto", "U", "classification"),
        ("1 a 1", "classification", "U", "classification"),
    ],
)
def test_the_kind_of_targets_follows_from_the_column(table, cells, task, kind, chosen):
    path = table("x,y\n" + "\n".join(f"{k},{cell}" for k, cell in enumerate(cells.split() * 2)))
    assert read_csv(path, "y", task)[0].targets.dtype.kind == kind
    dataset = load_dataset(str(path), target="y", task=task)
    assert dataset.task == chosen
    assert dataset.classes == {"i": ("0", "1"), "f": ("y",)}.get(kind, tuple(sorted(set(cells.split()))))


def test_several_target_columns_are_a_regression(table):
    path = table("x,u,v\n1,2,3\n4,5,6\n7,8,9\n")
    dataset = load_dataset(str(path), target="v, u", task="regression")
    assert (dataset.task, dataset.classes) == ("regression", ("v", "u"))
    both = np.concatenate((dataset.train.targets, dataset.test.targets))
    assert sorted(both.tolist()) == [[3, 2], [6, 5], [9, 8]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 must name the columns"),
        ("1,2\n3,4\n", "line 1 must name the columns"),
        ("x,y\n", "no rows"),
        ("x,x\n1,2\n", "two columns are named 'x'"),
        ("x,y\n1,2\n\n3\n", "line 4 has 1 cells, but the header has 2"),
        ("x,y\n1,2\n3,4,5\n", "line 3 has 3 cells, but the header has 2"),
        ("x,z,y\n1,2,3\n4,five,6\n", "line 3, column 'z': 'five' is not a number"),
        ("x,y\n1,2\n,4\n", "line 3, column 'x': '' is not a number"),
        ("x,y\n1,0.5\n2,a\n", "line 3, column 'y': 'a' is not a number"),
        ("x,y\n1,a\n2,\n", "line 3: the target is empty"),
        (
            "x,z,y\n1,2,3\n4,nan,6\n7,inf,1\n",
            "2 of 6 numbers are not finite; the first is nan in row 1, column z",
        ),
        ("x,y\n1,1.5\n4,nan\n", "1 of 2 numbers are not finite; the first is nan in row 1, column"),
        ('x,y\n1,"2\n', "cannot be read"),
        ('x,"y\n"\n1,"a\nb"\n2,"a\nb"\n', "of one class"),
        (b"x,y\n1,\xff\n", "cannot be read"),
        ("x,y\n1,0\n2,0\n", "all rows are of one class, '0'"),
        ("x,y\n1,0\n2,2\n", "must be 0..c-1"),
    ],
)
def test_the_error_for_a_bad_table_names_the_place(table, text, message):
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(str(table(text)), target="y")
    assert "own.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "set target to the column"),
        ("z", "no column is named 'z'; the columns are x, y"),
        ("x,y", "all columns"),
    ],
)
def test_a_missing_target_column_is_refused(table, target, message):
    with pytest.raises(UsageError, match=message):
        load_dataset(str(table("x,y\n1,2\n")), target=target)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(alphabet='01.e-,\n\r"xy \0nan', max_size=40) | st.binary(max_size=20), start=st.booleans()
)
def test_any_text_is_a_table_or_a_revgn_error(table, text, start):
    head = "x,y\n1,0\n2,1\n3,0\n" if start else ""
    path = table(head + text if isinstance(text, str) else head.encode() + text)
    line = ""
    try:
        load_dataset(str(path), target="y")
    except (DataError, UsageError) as error:
        line = str(error)
    assert "\n" not in line
