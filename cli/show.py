"""`revgn show`: summary of a run."""

from pathlib import Path

import click
from revgn_cli.options import json_option, print_json, run_argument
from revgn_cli.progress import clock, evaluation_metrics

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 40


@click.command("show")
@run_argument
@json_option
def command(run: Path, as_json: bool) -> None:
    """Show the settings of RUN that differ from the defaults, its last and best metrics, rho and timings.

    rho is the relative residual |J D - eps| / |eps| of the applied step.

    \b
    revgn show runs/digits-gauss-newton-20260101-120000
    """
    from revgn.store import open_run
    from revgn.views import summarize
    from revgn.views.compare import metric_label

    opened = open_run(run)
    summary = summarize(opened)
    if as_json:
        print_json(summary)
        return
    click.echo(f"{summary['run']}: {summary['title']}, {summary['status']}")
    if summary["message"]:
        click.echo(f"  {summary['message']}")
    click.echo(f"  {summary['backend']}, {summary['device']}, {summary['dtype']}, started {summary['start']}")
    for line in summary["history"][1:]:
        click.echo(f"  {line}")
    for path, value in summary["settings"].items():
        click.echo(f"  {path} = {value}")
    click.echo(f"step {summary['step']}, epoch {summary['epoch']:.4g}")
    for label, key, average in (
        ("last ", "last", False),
        ("best ", "best", False),
        ("last averaged", "last", True),
        ("best averaged", "best_average", True),
    ):
        if metrics := evaluation_metrics(summary[key], average=average):
            by = f" by {metric_label(summary['best_by'])}" if key.startswith("best") else ""
            click.echo(f"{label} epoch {summary[key]['epoch']:.4g}{by}, {', '.join(metrics)}")
    for name in ("train_loss", "test_loss", "test_accuracy"):
        if name in opened.epochs and opened.epochs[name].size > 1:
            values = opened.epochs[name].tolist()
            click.echo(f"{metric_label(name):<14} {sparkline(values, log=name.endswith('loss'))}")
    if summary["rho"]:
        click.echo(f"rho   median {summary['rho']['median']:.2e}, largest {summary['rho']['largest']:.2e}")
        for label, key in (("factorizations", "factorizations"), ("conjugate gradients", "cg_outcomes")):
            if counts := ", ".join(f"{name} {count}" for name, count in summary[key].items()):
                click.echo(f"{label} {counts}")
    if summary["split"]:
        split = ", ".join(f"{part} {share:.0%}" for part, share in summary["split"].items())
        outside = summary["seconds_outside"]
        beside = "" if outside is None else f"; {clock(outside)} outside of steps"
        click.echo(f"time  {clock(summary['seconds'])} of training: {split}{beside}")
    if summary["memory_bytes"]:
        click.echo(f"memory {summary['memory_bytes'] / 1e9:.3g} GB at peak")


def sparkline(values: list[float], *, log: bool = False, plain: bool = False) -> str:
    """Return one bar per value (at most 40, evenly spaced), scaled to their range; digits if `plain`.

    Bars show logarithms if `log`; values that have none, such as 0, get the lowest bar.
    """
    import math

    bars = "01234567" if plain else _BARS
    count = min(len(values), _WIDTH)
    picked = [values[round(i * (len(values) - 1) / max(count - 1, 1))] for i in range(count)]
    least = min((v for v in picked if 0 < v < math.inf), default=1.0)
    scaled = [math.log(max(v, least)) if log and math.isfinite(v) else v for v in picked]
    finite = [v for v in scaled if math.isfinite(v)]
    if not finite:
        return ""
    low, span = min(finite), max(finite) - min(finite)

    def bar(v: float) -> str:
        if not math.isfinite(v):
            return "!"
        return bars[round((v - low) / span * (len(bars) - 1)) if span else 0]

    return f"{''.join(map(bar, scaled))}  {values[0]:.4g} → {values[-1]:.4g}"
