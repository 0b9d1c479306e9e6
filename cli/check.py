"""`revgn check`: verify run folders, or the mathematics of the library on this machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from revgn_cli.notes import say
from revgn_cli.options import json_option, print_json, refuse_given

if TYPE_CHECKING:
    from revgn.arrays import BackendName
    from revgn.launch.check import Finding
    from revgn.testing import Measured
    from revgn.testing.machine import Precision


@click.command("check")
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--repair",
    is_flag=True,
    help="First merge the journal of each run into its run.h5; a damaged run.h5 is made again.",
)
@click.option(
    "--math", is_flag=True, help="Check the laws of all maps and solvers on this machine, not runs."
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "numpy", "cupy"]),
    default="auto",
    show_default=True,
    help="With --math: array library.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64"]),
    multiple=True,
    help="With --math: precision.  [default: both]",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="With --math: seed of the random inputs."
)
@json_option
def command(
    runs: tuple[Path, ...],
    repair: bool,
    math: bool,
    backend: "BackendName",
    dtype: "tuple[Precision, ...]",
    seed: int,
    as_json: bool,
) -> None:
    """Check RUNS, each a run or a folder of runs: checksums, journal, settings, data, recomputed losses.

    With --math, check inverses, tangents, adjoints, pseudoinverses, kernels and solvers against their laws,
    on random layers and networks. The exit code is 1 if any check fails.

    \b
    revgn check runs/first
    revgn check --repair runs/killed
    revgn check --math
    """
    if math == bool(runs):
        raise click.UsageError("expected either RUNS or --math")
    refuse_given(("repair",) if math else ("backend", "dtype", "seed"), f"with{'' if math else 'out'} --math")
    if math:
        _check_math(backend, dtype or ("float32", "float64"), seed, as_json)
        return
    from revgn.errors import UsageError
    from revgn.store import list_runs
    from revgn.store.reader import no_folder

    folders = [folder for path in runs for folder in list_runs(path) or [path]]
    if missing := [folder for folder in folders if not folder.is_dir()]:
        raise UsageError(f"{missing[0]}: {no_folder(missing[0])}")
    found = {}
    for folder in folders:
        found[str(folder)] = _findings(folder, repair)
        if not as_json:
            click.echo(folder)
            for finding in found[str(folder)]:
                click.echo(f"  {finding.outcome:<8} {finding.what:<30} {finding.detail}".rstrip())
    if as_json:
        print_json({name: [finding._asdict() for finding in each] for name, each in found.items()})
    outcomes = {(finding.what, finding.outcome) for findings in found.values() for finding in findings}
    if any(outcome == "damaged" for _, outcome in outcomes) or ("repair", "skipped") in outcomes:
        raise click.exceptions.Exit(1)


def _findings(folder: Path, repair: bool) -> "list[Finding]":
    """Return the findings on a folder; if it is no run, or another process is writing it, a single finding.

    If a repair fails, the findings without a repair follow.
    """
    from revgn.errors import RunError, RunHeldError
    from revgn.launch import check_run
    from revgn.launch.check import Finding

    try:
        return check_run(folder, repair=repair)
    except RunHeldError as error:
        return [Finding("repair", "skipped", str(error))]
    except RunError as error:
        if not repair:
            return [Finding("run.h5", "damaged", str(error))]
        others = _findings(folder, False)
        is_said = any(finding.detail == str(error) for finding in others)
        return others if is_said else [Finding("repair", "skipped", str(error)), *others]


def _check_math(backend: "BackendName", dtypes: "tuple[Precision, ...]", seed: int, as_json: bool) -> None:
    from revgn.arrays import device_name, select_backend
    from revgn.testing import check_machine

    chosen = select_backend(backend)
    found = [measured for dtype in dtypes for measured in check_machine(chosen, dtype, seed=seed)]
    failed = [measured for measured in found if not measured.holds]
    if as_json:
        rows = [measured._asdict() | {"holds": measured.holds} for measured in found]
        print_json({"backend": chosen.name, "device": device_name(chosen), "laws": rows})
    else:
        click.echo(f"{chosen.name}, {device_name(chosen)}")
        for row in _worst_by_law(found, dtypes):
            click.echo(row)
        for measured in failed:
            say(f"{measured.subject}, {measured.dtype}: {measured.law}: {measured.fault}")
        click.echo(f"{len(found) - len(failed)} of {len(found)} laws hold")
    if failed:
        raise click.exceptions.Exit(1)


def _worst_by_law(found: "list[Measured]", dtypes: "tuple[Precision, ...]") -> "Iterator[str]":
    """Yield one line per kind of subject and law: the largest error over all sizes, and the tolerance."""
    groups: dict[tuple[str, str], dict[str, Measured]] = {}
    for each in found:
        group = groups.setdefault((each.subject.partition(",")[0], each.law), {})
        if each.dtype not in group or _badness(each) > _badness(group[each.dtype]):
            group[each.dtype] = each
    subjects, laws = (max(map(len, names), default=0) for names in zip(*groups, strict=True))
    yield " " * (subjects + laws + 10) + "".join(f"{dtype:<22}" for dtype in dtypes).rstrip()
    for (subject, law), worst in groups.items():
        verdict = "ok" if all(each.holds for each in worst.values()) else "FAILS"
        errors = (f"{worst[dtype].error:8.1e} of {worst[dtype].limit:5.0e}" for dtype in dtypes)
        yield f"{verdict:<6} {subject:<{subjects}} {law:<{laws}} {'     '.join(errors)}"


def _badness(measured: "Measured") -> tuple[bool, float]:
    return not measured.holds, measured.error
