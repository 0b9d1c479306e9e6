"""`revgn watch`: its frames, and the restored state of the terminal."""

import io
import math
import re
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import wait_until
from revgn_cli.board import plain_table
from revgn_cli.braille import Line, plot_lines
from rich.console import Console

from revgn.store import is_run


def text_of(rows):
    return ["".join(piece for piece, _ in row) for row in rows]


def dots(rows):
    pieces = [piece for row in rows for piece, _ in row]
    return sum((ord(each) - 0x2800).bit_count() for each in pieces if len(each) == 1 and each >= "\u2800")


def test_a_rising_line():
    rows = plot_lines([Line([0, 1, 2, 3], [0, 1, 2, 3], "a")], 16, 2)
    assert text_of(rows) == ["          3 ⠀⠀⡠⠊", "          0 ⡠⠊⠀⠀", "            0  3"]


def test_levels_and_gaps_and_logarithms():
    assert dots(plot_lines([Line([0, 1], [2, 2], "a")], 16, 2)) == 8
    rows = plot_lines([Line([0, 1, 2], [1e-3, math.nan, 10.0], "a")], 30, 4, log=True)
    assert text_of(rows)[0].startswith("         10 ")
    assert text_of(rows)[3].startswith("      0.001 ")
    assert text_of(plot_lines([Line([], [], "a")], 30, 4)) == ["nothing to draw yet"]
    assert text_of(plot_lines([Line([1], [-1.0], "a")], 30, 4, log=True)) == ["nothing to draw yet"]


POINTS = st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats()), max_size=40)


@given(POINTS, st.integers(1, 120), st.integers(1, 30))
def test_any_numbers_fit_their_box(points, width, height):
    x, y = [p[0] for p in points], [p[1] for p in points]
    rows = plot_lines([Line(x, y, "a"), Line(x, y[::-1], "b")], width, height)
    assert len(rows) in (1, height + 1)
    assert all(len(line) <= max(width, 40) for line in text_of(rows))


def test_one_run(train, invoke):
    train("run", "--eval-every", 1, "-q")
    found = invoke("watch", "run")
    assert found.exit_code == 0
    assert found.stdout.startswith("run: gauss-newton on digits, finished, step 4\n")
    assert "loss (test bright, training dim)" in found.stdout
    assert "accuracy (test bright, training dim)" in found.stdout
    assert re.search("[\u2801-\u28ff]", found.stdout)
    assert "\x1b" not in found.stdout


@pytest.mark.parametrize("width", [80, 120])
def test_the_curves_fit_the_width(width, train, invoke, monkeypatch):
    """One below the other, or side by side where there is room; also in a pipe, as here."""
    train("run", "--eval-every", 1, "-q")
    monkeypatch.setenv("COLUMNS", str(width))
    lines = invoke("watch", "run").stdout.splitlines()
    assert width - 3 <= max(map(len, lines[2:])) <= width
    assert (sum("over epochs" in line for line in lines) == 1) == (width == 120)


def test_without_unicode(train, spawn, monkeypatch):
    """Asterisks and digits replace Braille patterns and bars."""
    train("runs/a", "--eval-every", 1, "-q")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    curve, errors = spawn("watch", "runs/a").communicate()
    assert (" **" in curve, "?" in curve, errors) == (True, False, "")
    table, errors = spawn("watch", "runs").communicate()
    assert (re.search(r" [0-7]{5} *$", table, re.MULTILINE) is not None, errors) == (True, "")


def test_a_folder(train, invoke):
    for name in ("runs/[a]", "runs/b"):
        train(name, "--eval-every", 1, "-q")
    lines = invoke("watch", "runs", "--once").stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [["[a]", "finished", "4"], ["b", "finished", "4"]]
    assert invoke("watch", "nowhere").exit_code == 2


def test_lines_are_whole_in_a_pipe_and_names_alone_are_cut_in_a_terminal(train, invoke, spawn, monkeypatch):
    """Regression losses are rounded as elsewhere."""
    name = "a-long-name-of-a-run-" * 4
    for last in "ab":
        train(f"runs/{name}{last}", "--data", "auto-mpg", "--subset", 100, "--eval-every", 1, "-q")
    for frame in (invoke("watch", "runs").stdout, spawn("watch", "runs").communicate()[0]):
        for line, last in zip(frame.splitlines()[1:3], "ab", strict=True):
            run, status, step, _, loss, _ = line.split()
            assert (run, status, step) == (name + last, "finished", "4")
            assert re.fullmatch(r"\d[\d.]{0,5}(e[-+]\d+)?", loss)
    table = plain_table(
        ("run", "status", "step"), [(name, "finished", "4"), (name, "interrupted", "12")], "2"
    )
    console = Console(width=40, file=io.StringIO())
    console.print(table)
    assert [line.split() for line in console.file.getvalue().splitlines()[1:3]] == [
        ["a-long-name-of-a-r…", "finished", "4"],
        ["a-long-name-of-a-r…", "interrupted", "12"],
    ]


def test_ends_with_the_run(train, on_terminal):
    train("run", "--eval-every", 1, "-q")
    process, terminal = on_terminal("watch", "run")
    written = terminal.read()
    assert process.wait() == 0
    assert "finished, step 4" in written
    assert written.rstrip().endswith("\x1b[?25h") or written.count("\x1b[?25l") == written.count("\x1b[?25h")


def test_ctrl_c_does_not_affect_the_run(spawn, on_terminal, tmp_path):
    """Neither where one run is watched, nor a folder of runs."""
    options = ("--subset", 300, "--hidden", 16, "--batch-size", 30, "--optimizer", "adam", "--epochs", 10**6)
    running = spawn("train", *options, "-q", "--out", "runs/a")
    assert wait_until(lambda: is_run(tmp_path / "runs/a"), running)
    for folder in ("runs/a", "runs"):
        process, terminal = on_terminal("watch", folder)
        assert "running" in terminal.read(until="running")
        process.send_signal(signal.SIGINT)
        written = terminal.read()
        assert process.wait() == 0
        assert "Traceback" not in written
        assert written.count("\x1b[?25l") == written.count("\x1b[?25h")  # the cursor is shown again
        assert running.poll() is None
