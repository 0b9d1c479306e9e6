"""Options that are settings: one table from option to dotted path, used by every command that trains."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class SettingOption(NamedTuple):
    """An option, and the setting it stands for, whose meaning is its help."""

    flag: str
    path: str
    kind: Any


class BatchSize(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """A count, or the word full."""

    name = "N|full"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Read "full" or an integer."""
        if value == "full" or isinstance(value, int):
            return value
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor full", param, ctx)


class SharesType(click.ParamType):  # type: ignore[type-arg]
    """A name, or numbers with commas."""

    name = "NAME|NUMBERS"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Read a name of shares, or a list of numbers."""
        if not isinstance(value, str) or value in ("uniform", "first", "last", "full-rank"):
            return value
        try:
            return [float(number) for number in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is not uniform, first, last, full-rank, or numbers with commas", param, ctx)


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """Whole numbers with commas."""

    name = "NUMBERS"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Read a list of whole numbers."""
        if not isinstance(value, str):
            return value
        try:
            return [int(number) for number in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is not whole numbers with commas", param, ctx)


class Size(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes, or such as 4GB; the settings read it."""

    name = "SIZE"


DATA_OPTIONS = (
    SettingOption("--data", "data.name", str),
    SettingOption("--data-folder", "data.folder", str),
    SettingOption("--subset", "data.subset", int),
    SettingOption("--subset-seed", "data.subset_seed", int),
    SettingOption("--inputs", "data.inputs", str),
    SettingOption("--targets", "data.targets", str),
    SettingOption("--test-inputs", "data.test_inputs", str),
    SettingOption("--test-targets", "data.test_targets", str),
    SettingOption("--target", "data.target", str),
    SettingOption("--validation", "data.validation_fraction", float),
    SettingOption("--task", "data.task", click.Choice(["auto", "classification", "regression"])),
)

TRAIN_OPTIONS = (
    *DATA_OPTIONS,
    SettingOption("--preset", "preset", str),
    SettingOption("--blocks", "network.blocks", int),
    SettingOption("--hidden", "network.hidden", int),
    SettingOption("--activation", "network.activation", click.Choice(["relu", "identity", "tanh", "gelu"])),
    SettingOption("--first-block", "network.first_block", click.Choice(["same", "identity", "relu"])),
    SettingOption("--activations", "network.activations", click.Choice(["keep", "rebuild"])),
    SettingOption(
        "--optimizer",
        "optimizer.name",
        click.Choice(["gauss-newton", "sgd", "adam", "muon", "kfac", "lbfgs"]),
    ),
    SettingOption("--inverse", "optimizer.inverse", click.Choice(["block", "minimum-norm"])),
    SettingOption("--shares", "optimizer.shares", SharesType()),
    SettingOption("--damping", "optimizer.damping", float),
    SettingOption("--outputs", "optimizer.outputs", click.Choice(["logits", "contrasts"])),
    SettingOption("--solver", "optimizer.solver", click.Choice(["dense", "cg", "auto"])),
    SettingOption("--memory", "optimizer.memory", Size()),
    SettingOption("--tolerance", "optimizer.tolerance", float),
    SettingOption("--max-iterations", "optimizer.max_iterations", int),
    SettingOption("--preconditioner", "optimizer.preconditioner", click.Choice(["blocks", "none"])),
    SettingOption("--curvature", "optimizer.curvature", click.Choice(["identity", "exact"])),
    SettingOption("--adapt-damping", "optimizer.adapt_damping", bool),
    SettingOption("--metric", "optimizer.metric", click.Choice(["identity", "features"])),
    SettingOption("--orthogonal", "optimizer.orthogonal", bool),
    SettingOption("--carry", "optimizer.carry", float),
    SettingOption("--lr", "optimizer.lr", float),
    SettingOption("--schedule", "optimizer.schedule", click.Choice(["constant", "cosine", "step"])),
    SettingOption("--warmup", "optimizer.warmup", int),
    SettingOption("--momentum", "optimizer.momentum", float),
    SettingOption("--weight-decay", "optimizer.weight_decay", float),
    SettingOption("--decay-to", "optimizer.decay_to", click.Choice(["zero", "start"])),
    SettingOption(
        "--length-rule", "optimizer.length_rule", click.Choice(["fixed", "backtracking", "second-batch"])
    ),
    SettingOption("--trust-radius", "optimizer.trust_radius", float),
    SettingOption("--trust-change", "optimizer.trust_change", float),
    SettingOption(
        "--hybrid", "optimizer.hybrid", click.Choice(["none", "switch", "blend", "couplings", "agreement"])
    ),
    SettingOption(
        "--second", "optimizer.second", click.Choice(["gauss-newton", "sgd", "adam", "muon", "kfac", "lbfgs"])
    ),
    SettingOption("--second-lr", "optimizer.second_lr", float),
    SettingOption("--switch-at", "optimizer.switch_at", int),
    SettingOption("--patience", "optimizer.patience", int),
    SettingOption("--couplings", "optimizer.couplings", Numbers()),
    SettingOption("--loss", "training.loss", click.Choice(["auto", "cross-entropy", "squared-error"])),
    SettingOption("--label-smoothing", "training.label_smoothing", float),
    SettingOption("--average", "training.average", click.Choice(["none", "exponential", "tail"])),
    SettingOption("--batch-size", "training.batch_size", BatchSize()),
    SettingOption("--epochs", "training.epochs", int),
    SettingOption("--steps", "training.steps", int),
    SettingOption("--seed", "training.seed", int),
    SettingOption("--backend", "training.backend", click.Choice(["auto", "numpy", "cupy"])),
    SettingOption("--dtype", "training.dtype", click.Choice(["float32", "float64"])),
    SettingOption("--eval-every", "training.eval_every", int),
    SettingOption("--analyse", "training.analyse_rows", int),
    SettingOption("--checkpoint-every", "training.checkpoint_every", int),
)

RESUME_OPTIONS = tuple(
    option
    for option in TRAIN_OPTIONS
    if option.flag
    in ("--epochs", "--steps", "--lr", "--second-lr", "--damping", "--memory", "--backend", "--data-folder")
)

set_option = click.option(
    "-s", "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting, by its dotted path."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress.")
workers_option = click.option(
    "--workers", type=int, metavar="N", help="Jobs at a time (1; with --dask all its workers)."
)
dask_option = click.option(
    "--dask", metavar="ADDRESS|local", help="Run the jobs on a dask cluster, or on one made here."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: Any) -> None:
    """Print strict JSON: what is infinite or NaN becomes null."""
    import json

    click.echo(json.dumps(_finite(value), allow_nan=False))


def setting_options(table: tuple[SettingOption, ...], *, defaults: bool = False) -> Callable[[F], F]:
    """Decorate a command with the options of a table; those not given arrive as None.

    With `defaults`, help shows those of the settings.
    """

    def decorate(command: F) -> F:
        for option in reversed(table):
            command = click.option(
                option.flag,
                _parameter(option),
                cls=_WithDefault if defaults else _WithMeaning,
                type=option.kind,
                is_flag=option.kind is bool,
                default=None,
            )(command)
        return command

    return decorate


def chosen_settings(
    table: tuple[SettingOption, ...], values: dict[str, Any], assignments: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Nested settings of the options given and of the `--set` assignments, which are stronger."""
    from revgn.training import merge_settings, nested, parse_assignment

    given = [
        nested(option.path, values[_parameter(option)])
        for option in table
        if values.get(_parameter(option)) is not None
    ]
    return merge_settings(*[parse_assignment(text) for text in reversed(assignments)], *given)


class _WithMeaning(click.Option):
    """Option whose help is its setting's meaning, looked up only when help is asked for."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from revgn.training import MEANINGS

        self.help = {path.replace(".", "_"): text for path, text in MEANINGS.items()}[self.name or ""]
        return super().get_help_record(ctx)


class _WithDefault(_WithMeaning):
    """The same, with the setting's default."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from revgn.training import Config, config_dict, flat

        record = super().get_help_record(ctx)
        settings = {path.replace(".", "_"): value for path, value in flat(config_dict(Config())).items()}
        default = settings.get(self.name or "")
        return record if record is None or default is None else (record[0], f"{record[1]}  [{default}]")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(child) for name, child in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(child) for child in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _parameter(option: SettingOption) -> str:
    return option.path.replace(".", "_")
