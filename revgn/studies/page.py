"""The page of a study in Markdown: its question, a table of its variants, its verdicts, and the settings."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from revgn.settings import flat, path_of
from revgn.store import Run
from revgn.studies.study import Scale, Study, Verdict, values_of
from revgn.views import compare_runs
from revgn.views.compare import Row, Spread, metric_form, metric_label, spread_of

_METRICS = ("validation_accuracy", "test_accuracy", "test_loss", "last_train_loss", "epochs", "seconds")


def study_markdown(
    study: Study, scale: Scale, chosen: dict[str, list[Run]], verdicts: Sequence[Verdict], command: str
) -> str:
    """Return the page of a study in Markdown: its question, two tables, and the settings of its variants."""
    lines = [f"# {study.title}", ""]
    for line in study_lines(study, scale, chosen, command):
        lines += [line, ""]
    rows = {variant: compare_runs(runs).rows[0] for variant, runs in chosen.items()}
    metrics = [name for name in _METRICS if any(name in row.metrics for row in rows.values())]
    claimed = {claim.what: claim for claim in study.claims if claim.what.replace(" ", "_") not in metrics}
    columns = [*map(metric_label, metrics), *claimed]
    lines += [f"| variant | learning rate | {' | '.join(columns)} |"]
    lines += ["|---" * (len(metrics) + len(claimed) + 2) + "|"]
    for variant, row in sorted(rows.items(), key=lambda item: -merit(study, item[1])):
        rate = first_rate(chosen[variant][0].config)
        cells = [_cell(name, row.metrics.get(name)) for name in metrics]
        cells += [
            _cell(claim.metric, spread_of(list(values_of(claim, chosen[variant]))))
            for claim in claimed.values()
        ]
        lines.append(f"| {variant} | {rate:g} | {' | '.join(cells)} |")
    head, found = verdict_table(verdicts)
    lines += ["", f"| {' | '.join(head)} |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in found)]
    return "\n".join([*lines, "", *variant_lines(study), ""])


def first_rate(config: dict[str, Any]) -> float:
    """Return the learning rate of a configuration; the first one if it has several optimizers."""
    return float(flat(config)[path_of("lr", config, of_first=True)])


def study_lines(study: Study, scale: Scale, chosen: dict[str, list[Run]], command: str) -> list[str]:
    """Return the question of a study, and a line with its data, scale, seeds and command."""
    count = max(map(len, chosen.values()), default=0)
    names = {run.attributes["data_name"]: None for runs in chosen.values() for run in runs}
    return [
        question_of(study),
        f"Data: {', '.join(names)}. Scale: {scale}. Seeds per variant: {count}; values are mean ± standard "
        f"deviation. Produced by `{command}`.",
    ]


def question_of(study: Study) -> str:
    """Return the question of a study with its source."""
    return f"{study.question} ({study.source}.)"


def verdict_table(verdicts: Sequence[Verdict]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the table of verdicts."""
    rows = [
        [
            verdict.claim.words,
            f"{verdict.claim.what}: {verdict.claim.more} minus {verdict.claim.less} = "
            f"{verdict.difference:+.4g} ± {verdict.error:.2g}",
            verdict.answer,
        ]
        for verdict in verdicts
    ]
    return ["claim", "difference ± standard error", "verdict"], rows


def variant_lines(study: Study) -> list[str]:
    """Return the lines of a sentence and a Markdown list with the settings of each variant, as TOML."""
    tuned = "; `lr` is the value before tuning" if study.tune or study.race else ""
    variants = [f"- `{name}`: `{_toml(settings)}`" for name, settings in study.plan.variants.items()]
    return [f"Settings of each variant, besides the settings common to all variants{tuned}:", "", *variants]


def merit(study: Study, row: Row) -> float:
    """Return the number that ranks a row, higher is better: minus the training loss, or the score."""
    return -row.metrics["last_train_loss"].mean if study.rule == "fit" else row.score


def _toml(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} = {{{_toml(value)}}}" if isinstance(value, Mapping) else f"{key} = {json.dumps(value)}"
        for key, value in settings.items()
    )


def _cell(name: str, spread: Spread | None) -> str:
    if spread is None or not spread.count:
        return ""
    scale, form, unit = metric_form(name)
    return f"{scale * spread.mean:{form}} ± {scale * spread.std:.2g}{unit}"
