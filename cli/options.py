"""Options that are settings: one table from option to dotted path, used by every command that trains."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class SettingOption(NamedTuple):
    """An option, the setting it stands for, and its help."""

    flag: str
    path: str
    kind: Any
    help: str


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
    SettingOption("--data", "data.name", str, "Data set, or a path to .npz, .h5 or .csv."),
    SettingOption("--data-folder", "data.folder", str, "Where data sets are kept."),
    SettingOption("--subset", "data.subset", int, "Train on the first N rows only."),
    SettingOption("--subset-seed", "data.subset_seed", int, "Draw those rows at random instead."),
    SettingOption("--inputs", "data.inputs", str, "Inputs in an .npz (key) or .h5 file (path)."),
    SettingOption("--targets", "data.targets", str, "Targets there."),
    SettingOption("--test-inputs", "data.test_inputs", str, "Test inputs there."),
    SettingOption("--test-targets", "data.test_targets", str, "Test targets there."),
    SettingOption("--target", "data.target", str, "Target column of a .csv file; several with commas."),
    SettingOption(
        "--validation",
        "data.validation_fraction",
        float,
        "Share of the training rows held out, by which the best weights are then chosen.",
    ),
    SettingOption(
        "--task", "data.task", click.Choice(["auto", "classification", "regression"]), "What targets are."
    ),
)

TRAIN_OPTIONS = (
    *DATA_OPTIONS,
    SettingOption("--preset", "preset", str, "A set-up of the paper, such as paper-mnist."),
    SettingOption("--blocks", "network.blocks", int, "Blocks of two couplings."),
    SettingOption("--hidden", "network.hidden", int, "Hidden features of a coupling."),
    SettingOption(
        "--activation",
        "network.activation",
        click.Choice(["relu", "identity", "tanh", "gelu"]),
        "Activation of the couplings.",
    ),
    SettingOption(
        "--first-block",
        "network.first_block",
        click.Choice(["same", "identity", "relu"]),
        "Activation of the first block.",
    ),
    SettingOption(
        "--activations",
        "network.activations",
        click.Choice(["keep", "rebuild"]),
        "Keep activations, or rebuild them by the inverse.",
    ),
    SettingOption(
        "--optimizer",
        "optimizer.name",
        click.Choice(["gauss-newton", "sgd", "adam", "muon", "kfac", "lbfgs"]),
        "Who takes the steps.",
    ),
    SettingOption(
        "--inverse",
        "optimizer.inverse",
        click.Choice(["block", "minimum-norm"]),
        "Generalized inverse of the Jacobian.",
    ),
    SettingOption("--shares", "optimizer.shares", SharesType(), "Shares of the blocks (block inverse)."),
    SettingOption(
        "--damping",
        "optimizer.damping",
        float,
        "Damping, relative to the kernel's mean diagonal (minimum norm) or to s_1^2 of the features (block); "
        "of K-FAC, of the mean loss's curvature (0.03 if not given).",
    ),
    SettingOption(
        "--outputs",
        "optimizer.outputs",
        click.Choice(["logits", "contrasts"]),
        "Realize all outputs, or only their contrasts, of which there is one less (minimum norm).",
    ),
    SettingOption(
        "--solver",
        "optimizer.solver",
        click.Choice(["dense", "cg", "auto"]),
        "Factor the kernel, go without it by conjugate gradients, or what is faster by estimate (minimum "
        "norm).",
    ),
    SettingOption(
        "--memory",
        "optimizer.memory",
        Size(),
        "Bound on the kernel's memory, such as 4GB; a larger kernel is factored by tiles, on disk where they "
        "find no room (minimum norm; half of the machine's if not given).",
    ),
    SettingOption("--tolerance", "optimizer.tolerance", float, "Relative residual at which cg ends."),
    SettingOption("--max-iterations", "optimizer.max_iterations", int, "Iterations after which cg gives up."),
    SettingOption(
        "--preconditioner",
        "optimizer.preconditioner",
        click.Choice(["blocks", "none"]),
        "What keeps the iterations of cg few.",
    ),
    SettingOption(
        "--curvature",
        "optimizer.curvature",
        click.Choice(["identity", "exact"]),
        "Curvature of the loss in its outputs.",
    ),
    SettingOption(
        "--adapt-damping",
        "optimizer.adapt_damping",
        bool,
        "Levenberg-Marquardt: let the damping follow the gain.",
    ),
    SettingOption(
        "--metric",
        "optimizer.metric",
        click.Choice(["identity", "features"]),
        "Norm in which Gauss-Newton's step is smallest: of the weights, or with the features seen so far.",
    ),
    SettingOption(
        "--orthogonal",
        "optimizer.orthogonal",
        bool,
        "Make the direction's matrices orthogonal, as Muon does a gradient's (rate 0.02 if not given).",
    ),
    SettingOption("--carry", "optimizer.carry", float, "Share of the last direction carried along."),
    SettingOption("--lr", "optimizer.lr", float, "Learning rate."),
    SettingOption(
        "--schedule",
        "optimizer.schedule",
        click.Choice(["constant", "cosine", "step"]),
        "How the rate goes with the step.",
    ),
    SettingOption("--warmup", "optimizer.warmup", int, "Steps of linear rise at the start."),
    SettingOption(
        "--momentum",
        "optimizer.momentum",
        float,
        "Momentum of SGD, Muon (0.95 if not given) and K-FAC (0.9).",
    ),
    SettingOption("--weight-decay", "optimizer.weight_decay", float, "Decoupled weight decay."),
    SettingOption(
        "--decay-to", "optimizer.decay_to", click.Choice(["zero", "start"]), "What the weights decay towards."
    ),
    SettingOption(
        "--length-rule",
        "optimizer.length_rule",
        click.Choice(["fixed", "backtracking", "second-batch"]),
        "Length of a step: the rate, or halved until its batch's loss falls, or as a fresh batch likes it.",
    ),
    SettingOption("--trust-radius", "optimizer.trust_radius", float, "Bound on the norm of a step."),
    SettingOption(
        "--trust-change",
        "optimizer.trust_change",
        float,
        "Bound on the outputs' change by a step, to first order (root mean square over samples).",
    ),
    SettingOption(
        "--hybrid",
        "optimizer.hybrid",
        click.Choice(["none", "switch", "blend", "couplings", "agreement"]),
        "Two optimizers in turn, blended, or each in its own couplings; or what half-batches agree on.",
    ),
    SettingOption(
        "--second",
        "optimizer.second",
        click.Choice(["gauss-newton", "sgd", "adam", "muon", "kfac", "lbfgs"]),
        "The second optimizer of a hybrid.",
    ),
    SettingOption("--second-lr", "optimizer.second_lr", float, "Its learning rate (else its own default)."),
    SettingOption("--switch-at", "optimizer.switch_at", int, "Steps before the switch to the second."),
    SettingOption(
        "--patience", "optimizer.patience", int, "Or steps without progress, after which to switch."
    ),
    SettingOption(
        "--couplings",
        "optimizer.couplings",
        Numbers(),
        "Couplings of the first optimizer, from 0 on, by commas.",
    ),
    SettingOption(
        "--loss",
        "training.loss",
        click.Choice(["auto", "cross-entropy", "squared-error"]),
        "Loss; auto takes cross-entropy for classes.",
    ),
    SettingOption(
        "--label-smoothing",
        "training.label_smoothing",
        float,
        "Share of each label that goes to all classes alike, in the steps (cross-entropy).",
    ),
    SettingOption(
        "--average",
        "training.average",
        click.Choice(["none", "exponential", "tail"]),
        "Average the weights beside training: exponentially, or over the last part of the steps.",
    ),
    SettingOption(
        "--batch-size",
        "training.batch_size",
        BatchSize(),
        "Rows in a batch (256, or all where there are fewer).",
    ),
    SettingOption("--epochs", "training.epochs", int, "Passes over the training data."),
    SettingOption("--steps", "training.steps", int, "Steps; stronger than --epochs."),
    SettingOption("--seed", "training.seed", int, "Seed of everything random."),
    SettingOption("--backend", "training.backend", click.Choice(["auto", "numpy", "cupy"]), "Array library."),
    SettingOption("--dtype", "training.dtype", click.Choice(["float32", "float64"]), "Precision."),
    SettingOption("--eval-every", "training.eval_every", int, "Steps between evaluations (else an epoch)."),
    SettingOption("--checkpoint-every", "training.checkpoint_every", int, "Steps between checkpoints."),
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
                cls=_DefaultInHelp if defaults else click.Option,
                type=option.kind,
                is_flag=option.kind is bool,
                default=None,
                help=option.help,
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


class _DefaultInHelp(click.Option):
    """Option whose default is the setting's, looked up only when help is asked for."""

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
