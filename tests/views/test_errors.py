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
    assert confusion_lines(["ant", "bee", "a long name of a class"], CONFUSION) == [
        "rows of each class, by predicted class",
        "       class  ant  bee  a long name   accuracy",
        "         ant    8    2             0     80.0%",
        "         bee    0    0             0         -",
        "a long name     1    0             3     75.0%",
    ]


def test_the_most_frequent_pairs_of_many_classes():
    many = [[10 * (i == j) + (j == (i + 1) % 30) * i for j in range(30)] for i in range(30)]
    first, *pairs = confusion_lines([f"c{k}" for k in range(30)], many)
    assert first.startswith("classes with the lowest accuracy: c29 25.6%, c28 26.3%, ")
    assert pairs[:2] == ["29 of class c29 classified as c0", "28 of class c28 classified as c29"]
    assert len(pairs) == 10


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
    assert "network.h5: cannot be read and may be damaged" in "\n".join(error_section(single_runs([lost])))
