"""Tables of text that fit the terminal."""

import pytest
from revgn_cli.columns import aligned, fitting, terminal_width

ROWS = [["runs/a", "finished", "a title", "step 4", "80 %"], ["runs/bc", "killed", "", "step 12", "9 %"]]


def test_columns_are_as_wide_as_their_longest_cell():
    assert aligned(ROWS, [0, 1, 4]) == ["runs/a   finished  80 %", "runs/bc  killed    9 %"]


@pytest.mark.parametrize(
    ("width", "kept"),
    [(None, 5), (41, 5), (40, 4), (32, 4), (31, 3), (10, 3)],
)
def test_optional_columns_are_left_out_until_lines_fit(width, kept):
    columns = fitting(ROWS, (2, 3), width)
    assert columns == [0, 1, 2, 3, 4][:2] + [[2, 3, 4], [3, 4], [4]][5 - kept]
    assert fitting([], (2, 3), width) == []


def test_outside_a_terminal_there_is_no_width(capsys):
    assert terminal_width() is None


def test_runs_fit_into_80_columns(train, on_terminal, monkeypatch):
    """The names that train gives to runs are about 35 characters long."""
    monkeypatch.setenv("COLUMNS", "80")
    for number in range(2):
        train(f"runs/digits-gauss-newton-20260101-12000{number}", "-q", "--seed", number)
    for command in (("ls", "runs"), ("compare", "runs/digits-gauss-newton-20260101-120000")):
        process, terminal = on_terminal(*command)
        lines = terminal.read().splitlines()
        assert process.wait() == 0
        assert max(map(len, lines[:2])) <= 80
        assert "test accuracy" in lines[0]
    assert lines[2] == "too wide for this terminal: training time (s); --csv has all columns"
