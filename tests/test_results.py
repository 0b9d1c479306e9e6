"""The pages of examples/results match the declared studies; a short study is repeated."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from sweep_cases import Here

from revgn.settings import merge_settings
from revgn.studies import conduct_study, load_study
from revgn.studies.page import variant_lines, verdict_table

RESULTS = Path(__file__).parent.parent / "examples" / "results"
OTHERS = ("README.md", "cifar10.md", "defaults.md", "gpu.md", "paper-scale.md", "step-times.md")
RACES = ("race", "race-all-images", "race-cifar10")
PAGES = sorted(path for path in RESULTS.glob("*.md") if path.name not in OTHERS and path.stem not in RACES)
MARK = " (measured with 0.1.0)"
REMOVED = {  # variants and claims of removed options, by page
    "cures": {
        "adam-below",
        "agreement",
        "decay-to-start",
        "second-batch",
        "trust-change",
        "A bound on the change of the outputs raises the test accuracy of the block step",
        "Choosing each step length on a second batch raises the test accuracy of the block step",
        "Weight decay towards the initialization raises the test accuracy of the block step",
        "Keeping only the elements of the step whose signs agree for both halves of a batch raises the test "
        "accuracy of the block step",
        "The minimum-norm step in the last block with the Adam step in the first block reaches a higher test "
        "accuracy than the block step",
    }
}
VERDICTS = ("agrees", "disagrees", "cannot tell")
COMMAND = re.compile(r"by `revgn study ([\w-]+)(?: --data ([\w-]+))?[^`]*`")


def tables(text):
    """Return the rows of the tables of a page, without heads and rules."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [row for row in rows if row[0] not in ("variant", "claim")]


@pytest.mark.parametrize("path", PAGES, ids=[path.stem for path in PAGES])
def test_a_page_matches_its_study(path):
    text = path.read_text(encoding="utf-8")
    name, data = COMMAND.search(text).groups()
    assert path.stem == "-".join([name, *([data] if data else [])])
    study = load_study(name)
    assert text.startswith(f"# {study.title}\n\n{study.question} ({study.source}.)")
    marked = [row for row in tables(text) if row[0].endswith(MARK)]
    assert {row[0].removesuffix(MARK) for row in marked} == REMOVED.get(path.stem, set())
    rows = [row for row in tables(text) if row not in marked]
    variants, claims = rows[: -len(study.claims)], rows[-len(study.claims) :]
    assert {row[0] for row in variants} <= set(study.plan.variants)
    assert [row[0] for row in claims] == [claim.words for claim in study.claims]
    assert all(row[-1] in VERDICTS for row in claims)
    assert "\n".join(variant_lines(study)) in text
    assert (RESULTS / f"{path.stem}.png").stat().st_size > 5000


def test_the_summary_matches_the_pages():
    """The table of the summary has every verdict of every page, and no others."""
    summary = (RESULTS / "README.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| \[([\w-]+)\]\(([\w-]+)\.md\) \| (.*) \| (.*) \| (.*) \|$", summary, re.MULTILINE)
    found = []
    for path in PAGES:
        rows = tables(path.read_text(encoding="utf-8"))
        found += [(path.stem, path.stem, row[0], row[-1]) for row in rows if row[-1] in VERDICTS]
    assert sorted((a, b, claim, verdict) for a, b, claim, _, verdict in told) == sorted(found)


@pytest.mark.parametrize("name", RACES)
def test_the_race_matches_its_study(name):
    """The page has a row for each method, a column for each budget, and a verdict for each pair of both."""
    text = (RESULTS / f"{name}.md").read_text(encoding="utf-8")
    study = load_study(name)
    assert text.startswith(f"# {study.title}\n\n{study.question} ({study.source}.)")
    assert COMMAND.search(text)[1] == name
    budgets = [budget.words(study.race.reference) for budget in study.race.budgets]
    assert f"| method | {' | '.join(budgets)} |" in text
    rows = [row for row in tables(text) if row[0] in study.plan.variants]
    assert [row[0] for row in rows] == [*study.plan.variants] * 2  # accuracies, then times
    verdicts = [row for row in tables(text) if row[-1] in VERDICTS]
    without = sum(row.count("failed") for row in rows if row[0] in study.race.baselines)
    assert len(verdicts) == len(budgets) * len(study.race.baselines) - without
    assert "\n".join(variant_lines(study)) in text
    assert (RESULTS / f"{name}.png").stat().st_size > 5000


@pytest.mark.slow
def test_a_short_study_reproduces_its_page(tmp_path):
    """The regression at the learning rates of its page: same losses, same verdicts except for timed ones."""
    rows = tables((RESULTS / "full-batch-regression.md").read_text(encoding="utf-8"))
    study = load_study("full-batch-regression")
    pages, claims = rows[: -len(study.claims)], rows[-len(study.claims) :]
    variants = {
        row[0]: merge_settings({"optimizer": {"lr": float(row[1])}}, dict(study.plan.variants[row[0]]))
        for row in pages
    }
    study = replace(study, tune="", plan=replace(study.plan, variants=variants))
    _, verdicts = conduct_study(study, tmp_path / "s", executor=Here())
    again = {row[0]: row for row in tables((tmp_path / "s" / "study.md").read_text(encoding="utf-8"))}
    for row in pages:
        for cell, other in zip(row[2:4], again[row[0]][2:4], strict=True):  # losses, test and training
            assert float(other.split()[0]) == pytest.approx(float(cell.split()[0]), rel=0.02)
    for claim, told, row in zip(study.claims, claims, verdict_table(verdicts)[1], strict=True):
        assert claim.seconds is not None or row[-1] == told[-1]
