"""Help by subject: `--help` shows the common options under headings, `--help-all` shows all options."""

from functools import cache
from typing import Any

import click
from revgn_cli.option_text import COLUMN, short_text

from revgn.data import DataSettings
from revgn.settings import FAMILIES, Config, names_within

_COMMON = [
    "preset",
    "data",
    "subset",
    "target",
    "validation",
    "network",
    "blocks",
    "hidden",
    "activation",
    "optimizer",
    "lr",
    "momentum",
    "weight_decay",
    "solver",
    "damping",
    "rows",
    "block_weights",
    "memory",
    "batch_size",
    "epochs",
    "steps",
    "schedule",
    "average",
    "seed",
    "dtype",
    "backend",
    "eval_every",
]  # settings in the short help
_OWN = "Command"  # heading of options that are not settings


class GroupedCommand(click.Command):
    """Command whose help shows the common settings by subject, and all settings with `--help-all`."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params.append(
            click.Option(
                ["--help-all"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_all,
                help="Show all settings, for every kind, and exit.",
            )
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under headings, in the order of the subjects."""
        subjects, shows_all = subjects_of_settings(), bool(ctx.meta.get(__name__))
        rows: dict[str, list[tuple[str, str]]] = {subject: [] for subject in (*subjects.values(), _OWN)}
        for param in (of for of in self.get_params(ctx) if isinstance(of, click.Option)):
            name, record = str(param.name), param.get_help_record(ctx)
            if record and name not in subjects:
                rows[_OWN].append(record)
            elif record and shows_all:
                rows[subjects[name]].append(record)
            elif record and name in _COMMON:
                rows[subjects[name]].append((record[0], short_text(name)))
        for subject, of_subject in rows.items():
            if of_subject:
                with formatter.section(subject):
                    formatter.write_dl(of_subject, col_max=COLUMN)
        if not shows_all:
            formatter.write_paragraph()
            formatter.write_text("--help-all shows all settings, and which optimizers and solvers have them.")


@cache
def subjects_of_settings() -> dict[str, str]:
    """Return the heading of each setting by its name; the first subject that has the setting counts."""
    structs = {
        "Data": (DataSettings,),
        "Network": tuple(FAMILIES["network"].values()),
        "Solver": tuple(FAMILIES["solver"].values()),
        "Optimizer": tuple(FAMILIES["optimizer"].values()),
        "Training": (Config,),
    }
    found = {
        "preset": "Data",
        "data": "Data",
        "network": "Network",
        "optimizer": "Optimizer",
        "solver": "Solver",
    }
    for subject, of_subject in structs.items():
        for name in names_within(*of_subject):
            found.setdefault(name, subject)
    order = ("Data", "Network", "Optimizer", "Solver", "Training")
    return dict(sorted(found.items(), key=lambda item: order.index(item[1])))


def _show_all(ctx: click.Context, param: click.Parameter, is_given: bool) -> None:
    if is_given and not ctx.resilient_parsing:
        ctx.meta[__name__] = True
        click.echo(ctx.get_help())
        ctx.exit()
