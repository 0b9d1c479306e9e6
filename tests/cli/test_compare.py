"""`revgn compare`, `export` and `report`: the same metrics in several formats."""

import csv
import io
import json
import re
import shutil
import statistics

import pytest
from sweep_cases import Here, plan_of

from revgn.store import open_run
from revgn.sweeps import run_sweep

TINY = ("--subset", 200, "--hidden", 16, "--blocks", 1, "--optimizer", "adam")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished sweep, shared by tests that do not change it."""
    folder = tmp_path_factory.mktemp("trained") / "s"
    plan = plan_of(
        {"training.epochs": 1, "data.validation": 0.1}, optimizer__lr="0.001,0.1", training__seed="0..2"
    )
    run_sweep(plan, folder, executor=Here())
    return folder


@pytest.fixture
def sweep(trained, invoke, tmp_path):
    """A copy of the sweep in the folder of a test."""
    return shutil.copytree(trained, tmp_path / "s")


def test_one_comparison_in_four_formats(invoke, sweep):
    found = json.loads(invoke("compare", "s", "--json").stdout)
    assert [row["settings"] for row in found["rows"]] == [{"optimizer.lr": 0.1}, {"optimizer.lr": 0.001}]
    best = found["rows"][0]
    epochs = [open_run(run).epochs for run in best["runs"]]
    accuracies = [each["test_accuracy"][each["validation_accuracy"].argmax()] for each in epochs]
    mean, std = statistics.mean(accuracies), statistics.stdev(accuracies)
    assert best["metrics"]["test_accuracy"] == pytest.approx({"mean": mean, "std": std, "count": 3})
    text = invoke("compare", "s").stdout.splitlines()
    metrics = ("validation accuracy", "test accuracy", "training loss", "epochs", "training time (s)")
    assert text[0].split() == " ".join(("lr", "runs", *metrics)).split()
    assert f"{100 * mean:.2f} ± {100 * std:.2f} %" in text[1]
    assert text[-1].startswith(
        "best first, by validation accuracy; metrics are from each run's best evaluation"
    )
    markdown = invoke("compare", "s", "--markdown").stdout.splitlines()
    assert len({line.count("|") for line in markdown}) == 1
    assert len(markdown) == 4
    rows = list(csv.DictReader(io.StringIO(invoke("compare", "s", "--csv").stdout)))
    assert float(rows[0]["test_accuracy"]) == mean
    assert rows[0]["folders"].split(";") == best["runs"]
    assert float(rows[0]["test_accuracy_std"]) == pytest.approx(std)
    assert "rho" not in text[0]
    assert "last test accuracy" in invoke("compare", "s", "--all").stdout.splitlines()[0]


@pytest.mark.parametrize("width", [45, 60, 80])
def test_the_least_important_metrics_are_left_out_on_a_narrow_terminal(invoke, sweep, monkeypatch, width):
    monkeypatch.setattr("revgn_cli.compare.terminal_width", lambda: width)
    *table, left_out, order = invoke("compare", "s", "--all").stdout.splitlines()
    assert max(map(len, table)) <= width
    assert re.split(r"  +", table[0])[:3] == ["lr", "runs", "validation accuracy"]
    assert ("training loss" in table[0]) == (width == 80)
    names = left_out.removeprefix("too wide for this terminal: ").removesuffix("; --csv has all columns")
    assert {*re.split(r"  +", table[0]), *names.split(", ")} == {*_header(invoke, monkeypatch, "--all")}
    assert order.startswith("best first, by validation accuracy")


def _header(invoke, monkeypatch, *options):
    monkeypatch.setattr("revgn_cli.compare.terminal_width", lambda: None)
    return re.split(r"  +", invoke("compare", "s", *options).stdout.splitlines()[0])


def test_settings_with_few_values_are_left_out_on_a_narrow_terminal(train, invoke, monkeypatch):
    for number, lr in enumerate((0.1, 0.2, 0.3)):
        how = ("--label-smoothing", 0.1, "--init-scale", 0.1, "--momentum", 0.1) if number else ()
        train(f"r{number}", "--lr", lr, *how, "-q")
    monkeypatch.setattr("revgn_cli.compare.terminal_width", lambda: 30)
    *table, left_out, _ = invoke("compare", "r0", "r1", "r2").stdout.splitlines()
    assert table[0].split() == ["lr", "runs", "test", "accuracy"]
    assert "terminal: init_scale, momentum, label_smoothing, training loss, epochs" in left_out


def test_runs_that_differ_in_their_seed_only_are_named_by_their_seeds(invoke, sweep):
    seeds = sorted(sweep.glob("lr=0.1_*"))
    for runs, name in ((seeds, "seeds 0 to 2"), (seeds[::2], "seeds 0, 2"), (seeds[:1], seeds[0].name)):
        found = invoke("compare", *runs).stdout.splitlines()
        assert found[1].startswith(f"{name}  ")


def test_two_formats_are_refused(invoke, sweep):
    found = invoke("compare", "s", "--json", "--csv")
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr == "revgn: --json and --csv: both choose the format; use only one of them\n"


def test_an_order_by_the_test_set_is_warned_of(train, invoke):
    for lr in (0.1, 0.2):
        train(f"r{lr}", "--lr", lr, "-q")
    for command in (["compare"], ["report", "-o", "r.html"]):
        (line,) = invoke(*command, "r0.1", "r0.2").stderr.splitlines()
        assert line.startswith("revgn: there are no validation rows, and the test set orders the runs")
        assert invoke(*command, "r0.1").stderr == ""


def test_no_two_columns_have_one_name(invoke):
    """The setting `epochs` and the metric `epochs`."""
    for epochs in (1, 2):
        invoke("train", *TINY, "--epochs", epochs, "--out", f"e{epochs}", "-q")
    header = invoke("compare", "e1", "e2").stdout.splitlines()[0].split()
    assert (header.count("epochs"), header.count("training.epochs")) == (1, 1)


@pytest.mark.parametrize("command", [("compare",), ("plot", "-o", "p.png"), ("report", "-o", "r.html")])
def test_a_copied_run_is_reported_and_not_counted(command, invoke, sweep):
    whole = invoke(command[0], "s", *command[1:])
    assert whole.stderr == ""
    run = next(sweep.glob("*/run.h5")).parent
    shutil.copytree(run, sweep / "zz")
    found = invoke(command[0], "s", *command[1:])
    assert (
        found.stderr
        == "revgn: s/zz: repeats the seed of another run with the same settings and is not counted\n"
    )
    if command[0] == "compare":
        assert found.stdout == whole.stdout


def test_invalid_options(invoke, sweep):
    assert invoke("compare").exit_code == 2
    found = invoke("compare", "s", "nowhere")
    assert (found.exit_code, found.stderr) == (2, "revgn: nowhere: there is no such folder\n")


def test_export(invoke, sweep):
    found = invoke("export", "s", "-o", "out")
    assert found.exit_code == 0
    *folders, table = found.stdout.splitlines()
    assert (len(folders), table) == (6, "out/settings.csv")
    assert all((sweep.parent / line / "steps.csv").exists() for line in folders)
    assert len((sweep.parent / table).read_text().splitlines()) == 7
    again = invoke("export", "s", "-o", "out")
    assert again.exit_code == 2
    assert "exists already and is not overwritten; choose another folder" in again.stderr
    assert invoke("export", "s", "--to", "xml").exit_code == 2
    run = found.stdout.splitlines()[0].replace("out", "s", 1)
    for folder in (run, f"{run}/new/er"):
        inside = invoke("export", run, "-o", folder)
        assert inside.exit_code == 2
        assert f"revgn: {folder}: is in the folder of a run, " in inside.stderr
    assert not (sweep.parent / run / "settings.csv").exists()


def test_report(invoke, sweep):
    pytest.importorskip("plotly")
    found = invoke("report", "s", "-o", "s.html")
    assert (found.exit_code, found.stdout[:8]) == (0, "s.html, ")
    assert "lr=0.1_seed=2" in (sweep.parent / "s.html").read_text()
    assert invoke("report", "s", "-o", "s.pdf").exit_code == 2
    assert invoke("report", "nowhere").exit_code == 2


@pytest.mark.parametrize(("command", "file"), [("plot", "s.svg"), ("report", "s.html")])
def test_an_existing_plot_or_report_is_replaced_as_the_help_says(command, file, invoke, sweep):
    (sweep.parent / file).write_text("earlier")
    assert invoke(command, "s", "-o", file).exit_code == 0
    assert (sweep.parent / file).stat().st_size > 1000
    assert "an existing file is replaced" in " ".join(invoke(command, "--help").stdout.split())
