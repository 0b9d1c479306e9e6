"""Damaged, random and malicious files: a clear error in one line, no wrong numbers, little memory."""

import json
import tracemalloc

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from revgn.errors import RevgnError, RunError, UsageError
from revgn.settings import build_config, parse_toml
from revgn.store import create_run, load_checkpoint, open_run, save_checkpoint
from revgn.store.journal import read_journal
from revgn.sweeps import parse_plan, plan_trials

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def folder(tmp_path, provenance):
    with create_run(tmp_path / "run", provenance) as writer:
        for step in range(1, 9):
            writer.record_step({"step": step, "loss": 1 / step})
    return tmp_path / "run"


def is_one_line(error):
    assert "\n" not in str(error)
    assert len(str(error)) < 2000


@st.composite
def mutations(draw):
    """Draw a function that damages bytes: it flips, cuts, repeats or overwrites some."""
    kind = draw(st.sampled_from(["flip", "cut", "repeat", "overwrite", "replace"]))
    where, size = draw(st.floats(0, 1)), draw(st.integers(1, 64))
    junk = draw(st.binary(min_size=1, max_size=64))

    def mutate(content):
        at = int(where * max(len(content) - 1, 0))
        if kind == "flip":
            return content[:at] + bytes([content[at] ^ (1 << size % 8)]) + content[at + 1 :]
        if kind == "cut":
            return content[:at]
        if kind == "repeat":
            return content[: at + size] + content[at:]
        if kind == "overwrite":
            return content[:at] + junk + content[at + len(junk) :]
        return junk

    return mutate


@FUZZ
@given(mutate=mutations())
def test_a_damaged_snapshot_is_rejected_or_harmless(folder, mutate):
    path = folder / "run.h5"
    whole = path.read_bytes()
    try:
        path.write_bytes(mutate(whole))
        run = open_run(folder)
        assert run.steps["loss"].tolist() == [1 / step for step in range(1, 9)]
    except RunError as error:
        is_one_line(error)
    finally:
        path.write_bytes(whole)


@FUZZ
@given(mutate=mutations())
def test_a_damaged_checkpoint_is_rejected_or_harmless(tmp_path, mutate):
    path, arrays = tmp_path / "step_00000001.h5", {"w": np.arange(50.0)}
    save_checkpoint(path, 1, arrays, {})
    try:
        path.write_bytes(mutate(path.read_bytes()))
        np.testing.assert_array_equal(load_checkpoint(path).arrays["w"], arrays["w"])
    except RunError as error:
        is_one_line(error)


LINES = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda record: json.dumps(record).encode(),
        st.dictionaries(
            st.sampled_from(["kind", "step", "epoch", "loss", "test_loss", "x"]),
            st.one_of(st.sampled_from(["step", "epoch", "resume", "inf", "nan"]), st.floats(), st.integers()),
        ),
    ),
    st.just(b'{"kind": "step", "step": 1e400}'),
    st.just(b"[" * 100_000),
    st.just(b'{"kind": "step", "step": 1' + b"0" * 5000 + b"}"),
)


@FUZZ
@given(lines=st.lists(LINES, max_size=6))
def test_any_journal_gives_records_or_a_one_line_error(tmp_path, lines):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    try:
        for _, record in read_journal(path)[0]:
            assert all(isinstance(value, float) for value in record.values())
    except RunError as error:
        is_one_line(error)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["data", "optimizer", "training", "network", "preset", "name", "kind", "lr", "solver", "grid", "x"]
)


@FUZZ
@given(
    content=st.dictionaries(KEYS, st.one_of(VALUES, st.dictionaries(KEYS, VALUES, max_size=3)), max_size=4)
)
def test_any_settings_give_a_configuration_or_a_one_line_error(content):
    try:
        build_config(content)
    except UsageError as error:
        is_one_line(error)


@FUZZ
@given(
    text=st.one_of(
        st.text(max_size=80), st.sampled_from(["a" * 10**6, "x = " + "[" * 5000, "[a" + ".a" * 5000])
    )
)
def test_any_text_gives_a_plan_or_a_one_line_error(text):
    for parse in (
        lambda text: build_config(parse_toml(text, "f")),
        lambda text: plan_trials(parse_plan(text, "f")),
    ):
        try:
            parse(text)
        except RevgnError as error:
            is_one_line(error)


def peak_of(call):
    tracemalloc.start()
    try:
        with pytest.raises(RunError):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_data_set_larger_than_its_file_takes_no_memory(folder, tmp_path):
    with h5py.File(folder / "run.h5", "r+") as file:
        del file["steps/loss"]
        file["steps"].create_dataset("loss", shape=(1 << 28,), chunks=(1024,), dtype="f8")  # 2 GB, empty
    assert peak_of(lambda: open_run(folder).steps) < 20e6
    path = tmp_path / "step_00000001.h5"
    save_checkpoint(path, 1, {"w": np.arange(5.0)}, {})
    with h5py.File(path, "r+") as file:
        del file["state/w"]
        file["state"].create_dataset("w", shape=(1 << 28,), chunks=(1024,), dtype="f8")
    assert peak_of(lambda: load_checkpoint(path)) < 20e6


@pytest.mark.parametrize("kind", ["soft", "external", "virtual", "group", "text", "table"])
def test_objects_that_are_not_series_are_rejected(folder, tmp_path, kind):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.arange(3.0)
    with h5py.File(folder / "run.h5", "r+") as file:
        steps = file["steps"]
        del steps["loss"]
        if kind == "soft":
            steps["loss"] = h5py.SoftLink("/nowhere")
        elif kind == "external":
            steps["loss"] = h5py.ExternalLink("../other.h5", "secret")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((3,), "f8")
            layout[:] = h5py.VirtualSource("../other.h5", "secret", (3,))
            steps.create_virtual_dataset("loss", layout)
        elif kind == "group":
            steps.create_group("loss")
        else:
            steps["loss"] = "words" if kind == "text" else np.zeros((2, 2))
    with pytest.raises(RunError, match=r"run\.h5: "):
        _ = open_run(folder).steps
