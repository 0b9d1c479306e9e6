import gzip

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from revgn.data import DataSettings, load_dataset
from revgn.data.dialect import MISSING
from revgn.data.tables import read_table
from revgn.errors import DataError, UsageError

rng = np.random.default_rng(0)
X = rng.integers(-9999, 9999, (12, 3)) / 1000  # numbers with three decimals
WORDS = ["ant", "bee", "cat"] * 4


@pytest.fixture
def table(tmp_path):
    def write(text):
        path = tmp_path / "own.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def read(path, target="y", **options):
    return read_table(path, DataSettings(str(path), target=target, **options))


def written(separator=",", decimal=".", head="a,b,c,y", end="\n", before="", after="", targets=WORDS):
    """The table of X and `targets` in another dialect."""
    rows = [[f"{number:.3f}".replace(".", decimal) for number in row] for row in X]
    lines = [head.split(","), *([*row, str(target)] for row, target in zip(rows, targets, strict=True))]
    return "".join(before + separator.join(line) + after + end for line in lines)


def test_columns_quotes_and_blank_lines(table):
    path = table('\ufeff"a, b", kind ,c\r\n1,ant," 2.5"\r\n\r\n-3e1,"be,e",4\r\n')
    found = read(path, "kind")
    np.testing.assert_array_equal(found.rows.inputs, [[1, 2.5], [-30, 4]])
    assert found.rows.targets.tolist() == ["ant", "be,e"]
    assert (found.columns, found.target_names, found.dialect) == (("a, b", "c"), ("kind",), "")
    assert read(path, "a, b", columns="c").target_names == ("a, b",)


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        (written(";"), "separator ';'"),
        (written(";", ","), "separator ';', decimal ','"),
        (written("\t"), "separator tab"),
        (written("\t", ","), "separator tab, decimal ','"),
        (written("|"), "separator '|'"),
        (written(" "), "separator space"),
        (written("   ", before="  ", after=" "), "separator space"),
        (written(" ", ","), "separator space, decimal ','"),
        (written(", "), ""),
        (written(end="\r\n"), ""),
        (written(end="\r"), ""),
        (written(";", after=";"), "separator ';'"),
        (
            written(" ").replace(" ant", "\tant").replace(" bee", "\tbee").replace(" cat", "\tcat"),
            "separator space",
        ),
        (written(";").replace("a;b;c;y", "a;b;c;y;"), "separator ';'"),
        (written(";").replace("\n", ";\n").replace("y;\n", "y\n"), "separator ';'"),
        ("sep=;\n" + written(";", ","), "separator ';', decimal ','"),
        ("sep=\t\r\n" + written("\t", end="\r\n"), "separator tab"),
        ("# " + written(), ""),
        ("# " + written(" "), "separator space"),
        (written(head='"a",b,"c",\' y \''.replace("'", '"')), ""),
        (written() + ",,,\n" * 3, ""),
        ("\ufeff" + written(), ""),
        (("\ufeff" + written("\t")).encode("utf-16-le"), "separator tab"),
        (gzip.compress(written().encode()), ""),
    ],
)
def test_every_dialect_is_read_alike(table, text, dialect):
    found = read(table(text))
    np.testing.assert_array_equal(found.rows.inputs, X)
    assert found.rows.targets.tolist() == WORDS
    assert (found.columns, found.dialect, found.notes) == (("a", "b", "c"), dialect, ())


def test_separator_and_decimal_sign_can_be_set(table):
    """Settings decide where the file is ambiguous: here 1,234 may be a number with a decimal comma."""
    path = table(written(":", ","))
    np.testing.assert_array_equal(read(path, separator=":").rows.inputs, X)
    path = table("a;b;y\n1,234;5;ant\n7,891;6;bee\n")
    with pytest.raises(DataError, match="the comma of '1,234' may be a decimal comma or separate thousands"):
        read(path)
    np.testing.assert_array_equal(read(path, decimal=",").rows.inputs, [[1.234, 5], [7.891, 6]])
    with pytest.raises(DataError, match="line 2, column 'a': '1,234' is not a number; thousands separators"):
        read(path, decimal=".")
    for text in ("", "ab", "1", '"', "\n"):
        with pytest.raises(UsageError, match=r"separator: .* expected one character, tab or space"):
            read(path, separator=text)
    assert read(table(written("\t")), separator="tab").dialect == "separator tab"


@pytest.mark.parametrize("head", [",a,b,c,y", "Unnamed: 0,a,b,c,y"])
def test_columns_without_a_name_are_left_out_and_noted(table, head):
    rows = written().splitlines()[1:]
    numbered = [f"{7 * k},{row}" for k, row in enumerate(rows)]
    found = read(table("\n".join([head, *numbered])))
    np.testing.assert_array_equal(found.rows.inputs, X)
    assert found.notes == ("column 1 has no name (0, 7, 14, ...) and is left out",)


def test_names_of_rows_as_r_writes_them(table):
    """The header has one cell less than the rows."""
    rows = [f'"car {k}",{row}' for k, row in enumerate(written().splitlines()[1:])]
    found = read(table("\n".join(['"a","b","c","y"', *rows])))
    np.testing.assert_array_equal(found.rows.inputs, X)
    assert found.notes == ("column 1 has no name (car 0, car 1, car 2, ...) and is left out",)


@pytest.mark.parametrize(
    ("columns", "kept"), [("c,a", [0, 2]), ("-b", [0, 2]), ("-a, -b", [2]), ("a", [0]), (None, [0, 1, 2])]
)
def test_input_columns_are_chosen_or_left_out(table, columns, kept):
    found = read(table(written()), columns=columns)
    np.testing.assert_array_equal(found.rows.inputs, X[:, kept])
    assert found.columns == tuple("abc"[k] for k in kept)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("a,z", "columns: no column is named 'z'; the columns, separated by ',', are a, b, c, y"),
        ("-z", "no column is named 'z'"),
        ("a,-b", "name either the columns to use or, with a minus sign, to leave out"),
        ("a,y", "columns: 'y' is the target"),
        ("-a,-b,-c", "there are no inputs"),
    ],
)
def test_columns_that_cannot_be_chosen(table, columns, message):
    with pytest.raises(UsageError, match=message):
        read(table(written()), columns=columns)


@pytest.mark.parametrize("cell", sorted(MISSING))
def test_rows_with_missing_values_are_left_out_only_if_asked(table, cell):
    lines = written().splitlines()
    lines[3] = f"{cell},1,2,ant"
    lines[9] = f"1,2,{cell},{cell}"
    path = table("\n".join(lines))
    with pytest.raises(
        DataError,
        match=r"missing in 2 of 12 rows \(1 in column 'a', 1 in column 'c', 1 in column 'y'\), "
        "first in line 4, column 'a'; set drop_missing to leave these rows out, or exclude columns",
    ):
        read(path)
    found = read(path, drop_missing=True)
    np.testing.assert_array_equal(found.rows.inputs, np.delete(X, [2, 8], axis=0))
    assert found.rows.targets.tolist() == [word for k, word in enumerate(WORDS) if k not in (2, 8)]
    assert found.notes[0].startswith(
        "2 of 12 rows are left out, since they have missing values (1 in column 'a'"
    )
    lines[11] = "1,inf,2,ant"
    with pytest.raises(DataError, match="line 12, column 'b': the number is not finite"):
        read(table("\n".join(lines)), drop_missing=True)
    with pytest.raises(DataError, match="no row is complete"):
        read(table(f"x,z,y\n1,{cell},2\n{cell},1,3\n"), drop_missing=True)


def test_targets_that_are_not_a_number_are_missing(table):
    path = table("x,y\n" + "\n".join(f"{k},{'NAN' if k == 3 else k / 8}" for k in range(20)))
    assert read(path, drop_missing=True).rows.inputs[:, 0].tolist() == [k for k in range(20) if k != 3]
    with pytest.raises(DataError, match=r"missing in 1 of 20 rows \(1 in column 'y'\), first in line 5"):
        read(path)


def test_letters_that_are_composed_of_two_characters_are_the_same_letters(table):
    """A file, and a setting, may have either Unicode form."""
    forms = ("gro\u0308\u00dfe", "gr\u00f6\u00dfe")
    for head in forms:
        path = table(f"{head},y\n1,2\n3,4\n")
        for name in forms:
            assert read(path, columns=name).columns == (forms[1],)
            assert read(path, target=name).target_names == (forms[1],)
            assert read_table(path, DataSettings(str(path), target="y"), [name]).columns == (forms[1],)


def test_true_and_false_are_numbers_in_inputs_and_classes_in_targets(table):
    path = table("x,flag,y\n0.5,true,True\n0.25,FALSE,False\n")
    np.testing.assert_array_equal(read(path).rows.inputs, [[0.5, 1], [0.25, 0]])
    assert read(path).rows.targets.tolist() == ["True", "False"]
    assert read(path, task="regression").rows.targets.tolist() == [[1.0], [0.0]]


@pytest.mark.parametrize(
    ("cells", "task", "kind", "chosen"),
    [
        ("0 1 1", "auto", "i", "classification"),
        ("0 1 1", "regression", "f", "regression"),
        ("0.5 1 1", "auto", "f", "regression"),
        ("0.0 1.0 1.0", "auto", "f", "classification"),
        ("b a b", "auto", "U", "classification"),
        ("1 a 1", "classification", "U", "classification"),
        ("-1 +1 10", "classification", "i", "classification"),
        ("01 02 10", "auto", "U", "classification"),
        ("01 02 10", "regression", "f", "regression"),
    ],
)
def test_the_kind_of_targets_follows_from_the_column(table, cells, task, kind, chosen):
    path = table("x,y\n" + "\n".join(f"{k},{cell}" for k, cell in enumerate(cells.split() * 2)))
    assert read(path, task=task).rows.targets.dtype.kind == kind
    dataset = load_dataset(str(path), target="y", task=task)
    assert dataset.task == chosen


@pytest.mark.parametrize(
    ("cells", "task", "classes"),
    [
        ("01 1 007", "classification", ("007", "01", "1")),
        ("01 1 007", "auto", ("007", "01", "1")),
        ("12345678901234567890 12345678901234567891", "classification", None),
        ("1.1 1.10 1.2", "classification", ("1.1", "1.10", "1.2")),
        ("0.0 1.0 2.0", "classification", ("0", "1", "2")),
        ("true True FALSE false", "auto", ("false", "true")),
    ],
)
def test_different_labels_are_different_classes(table, cells, task, classes):
    path = table("x,y\n" + "\n".join(f"{k},{cell}" for k, cell in enumerate(cells.split() * 4)))
    assert load_dataset(str(path), target="y", task=task).classes == (classes or tuple(cells.split()))


def test_padded_numbers_that_are_no_labels_stay_numbers(table):
    path = table("x,y\n" + "\n".join(f"{k},{k * k:05d}" for k in range(60)))
    assert read(path).rows.targets.tolist() == [k * k for k in range(60)]
    assert load_dataset(str(path), target="y").task == "regression"


def test_the_interpretation_of_a_table_is_one_line(table):
    path = table(written(";", ","))
    dataset = load_dataset(str(path), target="y")
    assert (dataset.columns, dataset.target_names, dataset.classes) == (
        ("a", "b", "c"),
        ("y",),
        ("ant", "bee", "cat"),
    )
    assert dataset.interpretation == (
        "classification into 3 classes (column 'y' holds text); 10 training and 2 test rows of 3 inputs; "
        "separator ';', decimal ','"
    )
    prices = table(written(targets=range(1000, 13000, 1000)))
    assert load_dataset(str(prices), target="y").interpretation.startswith(
        "regression on 1 target (column 'y' holds 12 different whole numbers, 1000 to 12000; set task to "
        "classification to take them as labels); "
    )
    assert (
        "(column 'y', as set); 10 " in load_dataset(str(prices), target="y", task="regression").interpretation
    )
    several = load_dataset(str(path), target="a,b", columns="c")
    assert (several.target_names, several.classes) == (("a", "b"), ("a", "b"))
    assert "regression on 2 targets (columns 'a', 'b' hold 2 columns of numbers)" in several.interpretation


def test_several_columns_may_be_one_hot(table):
    rows = "".join(f"{k},{int(k % 2 == 0)},{int(k % 2)}\n" for k in range(12))
    dataset = load_dataset(str(table(f"x,even,odd\n{rows}")), target="even,odd")
    assert (dataset.task, dataset.classes) == ("classification", ("even", "odd"))


def test_several_target_columns_are_a_regression(table):
    path = table("x,a,b,y\n1,2,3,4\n5,6,7,8\n9,10,11,12\n")
    dataset = load_dataset(str(path), target="b, a")
    assert (dataset.task, dataset.classes) == ("regression", ("b", "a"))
    together = np.concatenate((dataset.train.targets, dataset.test.targets))
    assert sorted(map(tuple, together)) == [(3, 2), (7, 6), (11, 10)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("1,2\n3,4\n", r"line 1 must name the columns, but it holds numbers \(1, 2\)"),
        ("5.1,3.5,setosa\n4.9,3,setosa\n", r"holds numbers \(5.1, 3.5\); add a line with names"),
        ("5,1,1,benign\n5,4,4,malign\n", "line 1 must name the columns"),
        ("x,y\n", "no rows"),
        ("x,x\n1,2\n", "two columns are named 'x'"),
        ("x,y\n1,2\n\n3\n", r"line 4 has 1 cells, but the header has 2 \(separator ','\)"),
        ("x;y\n1;2\n3;4\n5;6;7\n", r"line 4 has 3 cells, but the header has 2 \(separator ';'\)"),
        (
            "x,z,y\n1,2,3\n4,five,6\n",
            "line 3, column 'z': 'five' is not a number; set columns to -z to leave",
        ),
        ("x,a,b,y\n1,m,n,3\n", "column 'a': 'm' is not a number; set columns to -a,-b to leave text out"),
        ("x,y\n1_000,1\n2,2\n", "line 2, column 'x': '1_000' is not a number; digits cannot be grouped by _"),
        ('x,y\n"1,234.5",1\n2,2\n', "'1,234.5' is not a number; thousands separators are not supported"),
        (
            'x,y\n"1,5",1\n2,2\n',
            "'1,5' is not a number; the decimal sign is '.' here; set decimal to the sign that the file uses",
        ),
        ("x;y\n1,5;1\n1.5;2\n", "'1,5' is not a number; the decimal sign is '.' here"),
        (
            "x,y\n1,0.5\n2,a\n",
            "line 3, column 'y': 'a' is not a number; set task to classification to take all",
        ),
        ("x,y\n1,a\n2,\n", "values are missing in 1 of 2 rows .* first in line 3, column 'y'"),
        ("sep=;\nx;y\n1;2\nq;3\n", "line 4, column 'x': 'q' is not"),
        ('sep=;\nx;y\n1;2\n"q;3\n', "line 4 cannot be divided"),
        ("x,z,y\n1,2,3\n4,5,6\n7,inf,1\n", "line 4, column 'z': the number is not finite"),
        ("x,y\n1,1.5\n4,inf\n", "line 3, column 'y': the number is not finite"),
        ('x,y\n1,"2\n', "line 2 cannot be divided into cells; is there an unclosed quotation mark"),
        ('x,"y\n"\n1,"a\nb"\n2,"a\nb"\n', "of one class"),
        (b"x,y\n1,\xff\n", "byte 0xff is not UTF-8; save the file as UTF-8"),
        (b"x,y\n1,\0\n", "neither text nor"),
        ("x,y\n1,0\n2,0\n", "all rows are of one class, '0'"),
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
        ("z", "no column is named 'z'; the columns, separated by ',', are x, y"),
        ("x,y", "all columns are targets"),
    ],
)
def test_a_missing_target_column_is_refused(table, target, message):
    with pytest.raises(UsageError, match=message):
        load_dataset(str(table("x,y\n1,2\n")), target=target)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(alphabet='01.e-,;\t\n\r"xy \0nan', max_size=40) | st.binary(max_size=20),
    start=st.booleans(),
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


NUMBERS = st.integers(-50, 50) | st.floats(-1e6, 1e6).map(lambda x: round(x, 2)) | st.floats(-1e9, 1e9)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    separator=st.sampled_from([",", ";", "\t", "|", " ", "   ", ", "]),
    decimal=st.sampled_from(".,"),
    rows=st.lists(st.tuples(NUMBERS, NUMBERS, st.sampled_from(["u", "v"])), min_size=2, max_size=12),
)
def test_no_dialect_is_read_with_wrong_numbers(table, separator, decimal, rows):
    """A number is read exactly, or the comma is ambiguous, as in 1,234."""
    decimal = "." if separator.strip() == "," else decimal
    cells = [[repr(x).replace(".", decimal), repr(y).replace(".", decimal), word] for x, y, word in rows]
    path = table(
        "\n".join(separator.join(row) for row in [["x", "z 1" if separator.strip() else "z", "y"], *cells])
    )
    try:
        inputs = read(path).rows.inputs
    except DataError as error:
        if "may be a decimal comma or separate thousands" not in str(error):
            raise
        inputs = read(path, decimal=",").rows.inputs
    np.testing.assert_array_equal(inputs, [row[:2] for row in rows])
