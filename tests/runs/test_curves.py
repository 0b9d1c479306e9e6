"""Curves: files of the kind asked for, with their text, from runs of any length."""

import pytest

from revgn.errors import RunError, UsageError
from revgn.runs import create_run, draw_curves, open_run
from revgn.training import build_config, config_dict

SIGNATURES = {".png": b"\x89PNG\r\n", ".pdf": b"%PDF-", ".svg": b"<?xml", ".PNG": b"\x89PNG\r\n"}


@pytest.fixture
def make_run(tmp_path, provenance):
    from dataclasses import replace

    def make(folder, evaluations=3, classes=True, **optimizer):
        config = config_dict(build_config({"optimizer": optimizer}))
        with create_run(tmp_path / folder, replace(provenance, config=config)) as writer:
            for number in range(evaluations):
                losses = {"train_loss": 2.0**-number, "test_loss": 3.0**-number}
                counts = {"step": 4 * number, "samples": 64 * number, "seconds": 0.5 * number}
                hits = {"train_accuracy": 0.1 * number, "test_accuracy": 0.2 * number} if classes else {}
                writer.record_epoch({"epoch": number, **losses, **counts, **hits})
        return open_run(tmp_path / folder)

    return make


@pytest.mark.parametrize("ending", SIGNATURES)
def test_kinds_of_files(ending, make_run, tmp_path):
    path = tmp_path / f"curves{ending}"
    draw_curves([make_run("a"), make_run("b", name="adam")], path)
    content = path.read_bytes()
    assert content.startswith(SIGNATURES[ending])
    assert len(content) > 5000


@pytest.mark.parametrize("axis", ["epoch", "step", "seconds", "samples"])
def test_text_stays_text(axis, make_run, tmp_path):
    path = tmp_path / "curves.svg"
    draw_curves([make_run("a"), make_run("b", name="adam")], path, axis=axis)
    text = path.read_text()
    for word in ("loss", "accuracy", "adam, lr 0.001", "seconds of training" if axis == "seconds" else axis):
        assert f">{word}<" in text


def test_one_run_or_a_regression_or_nothing_yet(make_run, tmp_path):
    path = tmp_path / "curves.svg"
    draw_curves([make_run("one")], path)
    assert ">accuracy<" in path.read_text()
    draw_curves([make_run("numbers", classes=False)], path)
    assert ">accuracy<" not in path.read_text()
    draw_curves([make_run("nothing", evaluations=0)], path)
    draw_curves([make_run(f"nothing-{number}", evaluations=0) for number in range(2)], path)
    draw_curves([make_run(f"many-{number}", evaluations=1) for number in range(9)], path)


@pytest.mark.parametrize("name", ["curves.jpg", "curves"])
def test_other_endings_are_refused(name, make_run, tmp_path):
    with pytest.raises(UsageError, match=r"expected \.png, \.pdf or \.svg"):
        draw_curves([make_run("a")], tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_folder_that_is_not_there(make_run, tmp_path):
    with pytest.raises(RunError, match=r"cannot be written: No such file or directory"):
        draw_curves([make_run("a")], tmp_path / "nowhere" / "curves.png")
