"""Conducting a study: its sweep is run, then its tables, plots, report and verdicts are written."""

import importlib.util
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import asdict, replace
from pathlib import Path

import msgspec

from revgn.data import load_dataset, notes_on_data
from revgn.errors import UsageError
from revgn.settings import build_config, config_dict
from revgn.store import Run, list_runs, open_run
from revgn.store.files import write_shared
from revgn.studies.page import merit, study_lines, study_markdown, verdict_table
from revgn.studies.race import Raced
from revgn.studies.race_page import draw_race, race_markdown, race_results, race_verdicts
from revgn.studies.study import Scale, Study, Verdict, judge, plan_of
from revgn.sweeps import Board, Plan, check_folder, load_plan, plan_trials, run_sweep, tuned
from revgn.sweeps.drive import Source
from revgn.sweeps.extend import differences
from revgn.sweeps.launch import PLAN_FILE, Listed
from revgn.sweeps.plan import SEED
from revgn.sweeps.work import OVER
from revgn.training import load_data
from revgn.views import compare_runs, draw_curves, draw_response, write_report
from revgn.views.groups import Group
from revgn.views.report import Preface


def conduct_study(
    study: Study,
    folder: Path,
    *,
    scale: Scale = "laptop",
    seeds: int = 3,
    data: str | None = None,
    executor: Executor | None = None,
    workers: int = 1,
    command: str = "",
    observe: Callable[[Board], None] = lambda board: None,
    should_stop: Callable[[], bool] = lambda: False,
    note: Callable[[str], None] = lambda text: None,
) -> tuple[Board, tuple[Verdict, ...]]:
    """Run the missing trials of a study in `folder`; when all have ended, write tables, plots and verdicts.

    Parameters
    ----------
    note : callable
        Called with each note on the data set `data`.

    Returns
    -------
    board : Board
        The state of each trial, by its name.
    verdicts : tuple of Verdict
        Verdicts on the claims of the study, in their order; empty while trials are left.

    Raises
    ------
    UsageError
        If the data set is unknown or too small for the study, or the folder has another one or more seeds.
    DataError
        If the data set is not on this machine and cannot be downloaded.
    """
    plan, text = plan_of(study, scale, seeds, data), ""
    if data is not None:
        plan, text = fit_to_data(plan)
    check_study_folder(plan, folder, seeds)
    if data is not None:
        for each in filter(None, dict.fromkeys((*_check_data(plan), text))):
            note(each)
    source = source_of(study, plan, folder, seeds)
    board = run_sweep(
        plan,
        folder,
        source=source,
        executor=executor,
        workers=workers,
        command=command,
        observe=observe,
        should_stop=should_stop,
    )
    if not board or source.more(board, 1) or not all(state.is_over for state in board.values()):
        return board, ()
    if isinstance(source, Raced):
        verdicts = _write_race(study, source, board, scale, command)
    else:
        verdicts = _write_study(study, board, folder, scale, seeds, command)
    found = msgspec.json.encode([_plain(each) for each in verdicts])  # NaN becomes null
    write_shared(folder / "study.json", msgspec.json.format(found, indent=1))
    return board, verdicts


def fit_to_data(plan: Plan, *, download: bool = True) -> tuple[Plan, str]:
    """Return a plan for all training rows of its data set if its subset is larger, and a note on it.

    Raises
    ------
    UsageError, DataError
        If the data set is unknown, broken or not on this machine.
    """
    data = dict(plan.settings.get("data", {}))
    subset = data.pop("subset", None)
    if subset is None:
        return plan, ""
    whole = replace(plan, settings={**plan.settings, "data": data})
    config = build_config(dict(plan_trials(whole)[0].settings))
    dataset = load_dataset(download=download, **config_dict(config.data))
    rows = dataset.train.inputs.shape[0]
    if subset <= rows:
        return plan, ""
    return whole, f"{dataset.name}: all {rows} training rows are used, fewer than the {subset} of the study"


def check_study_folder(plan: Plan, folder: Path, seeds: int) -> None:
    """Raise `UsageError` if a folder has the same study with more seeds, or another sweep, or is a run."""
    has_runs = (folder / PLAN_FILE).exists() and list_runs(folder)
    stored = load_plan(folder) if has_runs else plan
    for axis in stored.axes:
        if axis.path != SEED or (count := len(axis.values)) <= seeds:
            continue
        if not differences(stored, replace(plan, axes=(*plan.axes[:-1], axis))):
            raise UsageError(
                f"{folder}: has this study with {count} seeds, more than {seeds}; give --seeds {count}, or "
                "choose another folder (--out)"
            )
    check_folder(plan, folder)


def source_of(study: Study, plan: Plan, folder: Path, seeds: int) -> Source:
    """Return the source of the trials of a study: a race, tuning, or all trials of its plan."""
    if study.race is not None:
        return Raced(plan, study.race, seeds, folder)
    return tuned(plan, folder, study.tune, study.rule) if study.tune else Listed(plan_trials(plan))


def _write_race(study: Study, race: Raced, board: Board, scale: Scale, command: str) -> tuple[Verdict, ...]:
    results, speeds = race_results(race, board), race.speeds(board)
    verdicts = race_verdicts(race.race, results)
    draw_race(race.race, results, race.folder / "study.png")
    page = race_markdown(study, race, results, speeds, verdicts, scale, command)
    write_shared(race.folder / "study.md", page.encode())
    return verdicts


def _write_study(
    study: Study, board: Board, folder: Path, scale: Scale, seeds: int, command: str
) -> tuple[Verdict, ...]:
    chosen = chosen_runs(study, board, folder, seeds)
    runs = [run for of_variant in chosen.values() for run in of_variant]
    verdicts = tuple(judge(c, chosen.get(c.more, []), chosen.get(c.less, [])) for c in study.claims)
    groups = [Group(variant, {}, tuple(of_variant)) for variant, of_variant in chosen.items()]
    if runs:
        panels = study.panels
        if not any("test_accuracy" in run.epochs for run in runs):  # a regression
            panels = [*dict.fromkeys(each.replace("accuracy", "loss") for each in panels)]
        for name in ("study.png", "study.svg"):
            if study.against is None:
                draw_curves(runs, folder / name, what=panels, groups=groups)
            else:
                draw_response(
                    runs, folder / name, study.against, what=panels, by="optimizer.kind", groups=groups
                )
        draw_curves(runs, folder / "seconds.png", axis="seconds", what=panels[:1], groups=groups)
        if importlib.util.find_spec("plotly"):
            preface = Preface(
                study.title, study_lines(study, scale, chosen, command), *verdict_table(verdicts)
            )
            write_report(runs, folder / "report.html", preface=preface, groups=groups)
    write_shared(folder / "study.md", study_markdown(study, scale, chosen, verdicts, command).encode())
    return verdicts


def chosen_runs(study: Study, board: Board, folder: Path, seeds: int) -> dict[str, list[Run]]:
    """Return the runs in the table row of each variant: the best of its settings that ran on all seeds.

    The rule of the study defines the best. A variant without settings that were run on all seeds is left out.
    """
    by_variant: dict[str, list[Run]] = {}
    for name, state in board.items():
        if state.status in OVER:
            by_variant.setdefault(state.trial.choices.get("variant", ""), []).append(open_run(folder / name))
    found = {}
    for variant, runs in by_variant.items():
        complete = [
            row
            for row in compare_runs(runs).rows
            if len(row.runs) == seeds and not row.statuses.keys() & {"failed", "diverged"}
        ]
        if complete:
            best = max(complete, key=lambda row: merit(study, row))
            found[variant] = [run for run in runs if str(run.folder) in best.runs]
    return found


def _check_data(plan: Plan) -> list[str]:
    """Load each data set of the plan once, so that errors are raised before the first trial; return notes."""
    configs = [build_config(dict(trial.settings)) for trial in plan_trials(plan)]
    by_data = {repr(config.data): config for config in configs}
    return [text for config in by_data.values() for text in notes_on_data(load_data(config))]


def _plain(verdict: Verdict) -> dict[str, object]:
    claim = asdict(verdict.claim)
    return (
        {"claim": claim.pop("words")} | claim | {k: v for k, v in verdict._asdict().items() if k != "claim"}
    )
