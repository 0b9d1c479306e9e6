"""`revgn check`: integrity of runs, and correctness of the mathematics on this machine."""

import json
from itertools import islice
from pathlib import Path

import pytest

from revgn.arrays import select_backend
from revgn.errors import RunError, RunHeldError
from revgn.store.writer import repair_run
from revgn.testing import check_machine


def test_runs(train, invoke, tmp_path):
    train("runs/a", "-q")
    train("runs/b", "-q")
    found = invoke("check", "runs")
    assert found.exit_code == 0
    assert found.stdout.startswith("runs/a\n  ok       run.h5 ")
    assert "recomputed losses agree with the record exactly" in found.stdout
    (tmp_path / "runs/b/config.toml").write_text("= 3")
    found = invoke("check", "runs", "--json")
    assert found.exit_code == 1
    rows = json.loads(found.stdout)
    assert [row["what"] for row in rows["runs/b"] if row["outcome"] == "damaged"] == ["config.toml"]
    assert invoke("check", "--repair", "runs/a").exit_code == 0


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "either RUNS or --math"),
        (("--math", "a"), 2, "either RUNS or --math"),
        (("nowhere",), 2, "nowhere: there is no such folder"),
        ((".", "--dtype", "float32"), 2, "--dtype: has no effect without --math"),
        (("--math", "--repair"), 2, "--repair: has no effect with --math"),
        (("--math", "--backend", "cupy"), 2, "backend cupy"),
        (("--math", "--seed", -1), 2, "seed: -1 is not at least 0"),
    ],
)
def test_invalid_arguments(invoke, options, code, message):
    found = invoke("check", *options)
    assert found.exit_code == code
    assert message in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_a_folder_without_a_run_is_a_finding_beside_the_others(train, invoke, tmp_path):
    train("runs/a", "-q")
    (tmp_path / "empty").mkdir()
    found = invoke("check", "empty", "runs/a")
    assert (found.exit_code, found.stderr) == (1, "")
    first, reason, second, *rest = found.stdout.splitlines()
    assert (first, second) == ("empty", "runs/a")
    assert reason.split(maxsplit=2) == ["damaged", "run.h5", "empty: is not a run folder: it has no run.h5"]
    assert all(line.startswith("  ok ") for line in rest)


def test_a_missing_run_h5_is_found_and_made_again_in_a_folder_of_runs(train, invoke):
    train("runs/a", "-q")
    train("runs/b", "-q")
    Path("runs/a/run.h5").unlink()
    line = "runs/a/run.h5: is missing; revgn check --repair runs/a makes it again from the journal"
    assert [row["status"] for row in json.loads(invoke("ls", "--json").stdout)] == ["damaged", "finished"]
    refused = invoke("compare", "runs")
    assert (refused.exit_code, refused.stderr) == (1, f"revgn: {line}\n")
    found = invoke("check", "runs")
    assert (found.exit_code, found.stdout.count("damaged")) == (1, 1)
    assert found.stdout.splitlines()[1].split(maxsplit=2) == ["damaged", "run.h5", line]
    found = invoke("check", "--repair", "runs")
    assert (found.exit_code, found.stdout.count("was made again")) == (0, 1)
    assert [row["status"] for row in json.loads(invoke("ls", "--json").stdout)] == ["interrupted", "finished"]


def test_a_run_that_is_being_written_is_not_damaged(train, invoke, monkeypatch):
    train("runs/a", "-q")
    train("runs/b", "-q")
    Path("runs/a/config.toml").write_text("")  # needs a repair

    def held(folder, *others):
        if folder.name == "a":
            raise RunHeldError(f"{folder}: is being written")
        return repair_run(folder, *others)

    monkeypatch.setattr("revgn.launch.check.repair_run", held)
    found = invoke("check", "--repair", "runs")
    assert (found.exit_code, found.stdout.count("damaged")) == (1, 0)
    assert found.stdout.splitlines()[1].split(maxsplit=2) == ["skipped", "repair", "runs/a: is being written"]
    assert "runs/b" in found.stdout


def test_only_a_repair_that_is_needed_is_written(train, invoke, monkeypatch):
    """As on a file system that is read-only, where a complete run is not an error."""
    train("a", "-q")

    def read_only(folder, *others):
        raise RunError(f"{folder}/metrics.jsonl: cannot be written: Read-only file system")

    monkeypatch.setattr("revgn.launch.check.repair_run", read_only)
    found = invoke("check", "--repair", "a")
    assert found.exit_code == 0
    assert found.stdout.splitlines()[1].split(maxsplit=2) == [
        "ok",
        "repair",
        "the run is complete; nothing was written",
    ]
    with Path("a/metrics.jsonl").open("ab") as journal:
        journal.write(b'{"kind": "st')
    found = invoke("check", "--repair", "a")
    assert found.exit_code == 1
    assert found.stdout.splitlines()[1].split(maxsplit=2) == [
        "skipped",
        "repair",
        "a/metrics.jsonl: cannot be written: Read-only file system",
    ]
    assert (found.stdout.count("damaged"), found.stdout.count("  ok ")) == (0, 9)


def test_math(invoke):
    found = invoke("check", "--math", "--dtype", "float32")
    assert found.exit_code == 0
    assert found.stdout.splitlines()[-1].endswith(" laws hold")
    assert len({line.find(" of ") for line in found.stdout.splitlines() if line.startswith("ok ")}) == 1
    rows = json.loads(invoke("check", "--math", "--dtype", "float64", "--json").stdout)["laws"]
    assert {row["dtype"] for row in rows} == {"float64"}
    assert len(rows) > 300
    laws = {row["law"] for row in rows}
    assert {"inverse", "tangent", "adjoint", "pinv", "rows", "J G J = J", "the dense step"} <= laws


def test_a_wrong_map_is_reported(invoke, monkeypatch, few_laws):
    """A relative error of 0.1 % in one product makes the violated laws fail, and the output names them."""
    import revgn.layers.random_features as random_features

    right = random_features.matmul
    monkeypatch.setattr(random_features, "matmul", lambda A, B: 1.001 * right(A, B))
    found = invoke("check", "--math", "--dtype", "float64")
    assert found.exit_code == 1
    assert "FAILS" in found.stdout
    assert "relative error" in found.stderr


def test_a_measurement_contains_the_compared_error_and_tolerance():
    rows = list(islice(check_machine(select_backend("numpy"), "float32", seed=3), 80))
    assert all(row.holds for row in rows)
    assert all(row.error <= row.limit for row in rows)
    assert any(row.error > 0 for row in rows if row.law == "pinv")
