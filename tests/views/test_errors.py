"""Confusion of classes as text and in reports, and errors of targets."""

from dataclasses import replace

import pytest

from revgn.launch import evaluate_run, start_run
from revgn.settings import build_config
from revgn.store import open_run
from revgn.views import write_report
from revgn.views.errors import class_accuracies, confusion_lines, error_section
from revgn.views.groups import single_runs

CONFUSION = [[8, 2, 0], [0, 0, 0], [1, 0, 3]]


def test_a_matrix_of_a_few_classes():
    assert class_accuracies(CONFUSION) == [0.8, None, 0.75]
    assert confusion_lines(["ant", "bee", "gnat"], CONFUSION) == [
        "rows of each class, by predicted class",
        "class  ant  bee  gnat  accuracy",
        "  ant    8    2     0     80.0%",
        "  bee    0    0     0         -",
        " gnat    1    0     3     75.0%",
    ]


def test_columns_have_numbers_where_names_are_too_long():
    """Names with the same beginning stay different."""
    names = [f"the same beginning of a name, {word}" for word in ("one", "two", "three")]
    assert confusion_lines(names, CONFUSION, 80) == [
        "rows of each class, by predicted class",
        "                                 class  #1  #2  #3  accuracy",
        "  the same beginning of a name, one #1   8   2   0     80.0%",
        "  the same beginning of a name, two #2   0   0   0         -",
        "the same beginning of a name, three #3   1   0   3     75.0%",
    ]


def test_many_classes_have_a_line_each_and_the_most_frequent_pairs():
    many = [[10 * (i == j) + (j == (i + 1) % 30) * i for j in range(30)] for i in range(30)]
    names = [f"c{k}" for k in range(30)]
    title, *lines = confusion_lines(names, many)
    assert title == "accuracy of each class, the lowest first"
    assert lines[:2] == ["  c29   25.6%  of 39 rows", "  c28   26.3%  of 38 rows"]
    assert {line.split()[0] for line in lines[:30]} == {*names}
    assert lines[30:33] == [
        "most frequent errors, class -> prediction",
        "  29   c29 -> c0",
        "  28   c28 -> c29",
    ]
    assert len(lines) == 41
    assert max(map(len, lines)) < 80
    assert len(confusion_lines(names, many, 200)) == 32


@pytest.fixture
def make(tmp_path):
    def start(folder, **data):
        parts = {"network": {"hidden": 8}, "optimizer": {"kind": "adam"}, "training": {"steps": 3}}
        tiny = {"data": data} | parts
        start_run(build_config(tiny), tmp_path / folder)
        return open_run(tmp_path / folder)

    return start


def test_a_report_shows_the_errors_on_the_test_set(make, tmp_path):
    digits, cars = make("digits", subset=200), make("cars", name="auto-mpg")
    found = evaluate_run(digits.folder, parts=("test",))
    sections = "\n".join(error_section(single_runs([digits, cars])))
    for count in {n for row in found["test_confusion"] for n in row}:
        assert f">{count}</td>" in sections
    assert "<th>target</th>" in sections
    assert f"{cars.epochs['test_rmse'][-1]:.4g}" in sections
    pytest.importorskip("plotly")
    write_report([digits], tmp_path / "with.html", errors=True)
    write_report([digits], tmp_path / "without.html")
    assert "Errors on the test set" in (tmp_path / "with.html").read_text()
    assert "Errors on the test set" not in (tmp_path / "without.html").read_text()


def test_a_network_that_cannot_be_evaluated_is_said(make, tmp_path):
    run = make("digits", subset=200)
    lost = replace(run, config=run.config)
    (run.folder / "network.h5").write_bytes(b"\x89HDF")
    assert "network.h5: cannot be read: the file is damaged" in "\n".join(error_section(single_runs([lost])))
