import json

import numpy as np
import pytest
from click.testing import CliRunner
from revgn_cli.data import command

from revgn.data import load_dataset
from revgn.errors import DataError, UsageError


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.setenv("REVGN_DATA", str(tmp_path / "data"))

    def run(*arguments):
        return CliRunner().invoke(command, arguments)

    return run


@pytest.mark.parametrize("arguments", [(), ("list",)])
def test_the_list_shows_available_data_sets(invoke, arguments):
    lines = invoke(*arguments).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["digits", "auto-mpg", "fashion-mnist", "mnist", "cifar10"]
    assert "0.05 MB" in lines[0]
    assert lines[3].endswith("not downloaded")


def test_the_list_as_json(invoke):
    listed = json.loads(invoke("list", "--json").stdout)
    assert listed[3] == {"name": "mnist", "place": None, "bytes": 0}


def test_fetching_an_available_data_set_prints_its_files(invoke):
    lines = invoke("fetch", "digits").stdout.splitlines()
    assert len(lines) == 4
    assert lines == json.loads(invoke("fetch", "digits", "--json").stdout)


def test_describe(invoke):
    text = invoke("describe", "digits", "--subset", "100").stdout
    assert "train_rows      100" in text
    assert "image_shape     1, 8, 8" in text
    described = json.loads(invoke("describe", "digits", "--json").stdout)
    assert described["train_rows"] == 1437


def test_describe_accepts_the_users_own_arrays(invoke, tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, a=np.random.default_rng(0).random((10, 4)), b=np.arange(10) / 3)
    options = ["--inputs", "a", "--targets", "b", "--test-fraction", "0.4", "--json"]
    described = json.loads(invoke("describe", str(path), *options).stdout)
    assert (described["task"], described["train_rows"], described["test_rows"]) == ("regression", 6, 4)
    table = tmp_path / "own.csv"
    table.write_text("x,y\n1,a\n2,b\n3,a\n")
    assert "classes         a, b" in invoke("describe", str(table), "--target", "y").stdout


def test_each_warning_is_a_line(invoke, tmp_path):
    table = tmp_path / "own.csv"
    table.write_text("x,a,b\n" + "\n".join(f"1,{k},{k * k % 7}" for k in range(60)))
    lines = invoke("describe", str(table), "--task", "regression", "--target", "b").stdout.splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("warnings"))
    warnings = load_dataset(str(table), task="regression", target="b").warnings
    assert len(warnings) > 1
    assert [line[16:] for line in lines[at : at + len(warnings)]] == list(warnings)


def test_errors_are_raised_to_the_main_group(invoke):
    assert isinstance(invoke("describe", "mnist", "--no-download").exception, DataError)
    assert isinstance(invoke("describe", "mnst").exception, UsageError)
    assert isinstance(invoke("fetch", "own").exception, UsageError)
