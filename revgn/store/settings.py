"""Conversion of settings of version 0.1 (run formats 1 and 2), where the optimizer was one flat table.

A run with an optimizer that was removed keeps its settings, with the old name of the optimizer as its kind.
Such a run can be shown, compared and evaluated, but not resumed.
"""

from typing import Any

Table = dict[str, Any]

_OF = {  # fields of each kind, as "new=old" or as one name that did not change
    "sgd": "momentum nesterov",
    "adam": "beta1 beta2 eps",
    "muon": "momentum nesterov beta1 beta2 eps",
    "kfac": "damping momentum every=factor_every decay=factor_mean kl_clip",
    "lbfgs": "history",
    "gauss-newton": "momentum=carry momentum_limit=carry_limit curvature output_damping",
    "minimum-norm": "damping outputs memory",
    "auto": "damping outputs memory tolerance",
    "cg": "damping outputs tolerance max_iterations",
    "block": "block_weights=shares rtol atol damping",
    "blocks": "block_samples directions",
    "features": "floor=metric_floor decay=metric_mean every=metric_every",
    "levenberg-marquardt": "raised=damping_raised lowered=damping_lowered lowest=damping_min "
    "highest=damping_max",
    "constant": "warmup",
    "cosine": "warmup floor",
    "step": "warmup every gamma",
    "exponential": "decay=average_decay",
    "tail": "tail_start=average_from",
}
_FLAT = ("name", "schedule", "warmup", "floor", "every", "gamma")


def migrated_settings(old: Table) -> Table:
    """Return nested settings of version 0.1, complete or partial, under their present paths."""
    new = {section: dict(table) if isinstance(table, dict) else table for section, table in old.items()}
    data, training, optimizer = (new.get(name, {}) for name in ("data", "training", "optimizer"))
    if "validation_fraction" in data:
        data["validation"] = data.pop("validation_fraction")
    average, loss = training.pop("average", "none"), training.get("loss")
    of_average = _taken(training, average)
    for name in ("average_decay", "average_from"):
        training.pop(name, None)
    if average != "none":
        training["average"] = {"kind": average, **of_average}
    if loss is not None:
        training["loss"] = None if loss == "auto" else {"kind": loss}
    kind = optimizer.get("schedule", "constant")
    of_schedule = _taken(optimizer, kind)
    if of_schedule or "schedule" in optimizer:
        training["schedule"] = {"kind": kind, **of_schedule}
    if training:
        new["training"] = training
    if optimizer:
        new["optimizer"] = _optimizer(optimizer)
        if not new["optimizer"]:
            del new["optimizer"]
    return new


def _optimizer(old: Table) -> Table:
    """Return the optimizer, nested in the wrappers that the old settings enabled."""
    if kind := _removed(old):
        return {"kind": kind, **{name: value for name, value in old.items() if name not in _FLAT}}
    first = _plain(old, old.get("name"), old.get("lr"))
    if old.get("adapt_damping"):
        first = {"kind": "levenberg-marquardt", "inner": first, **_taken(old, "levenberg-marquardt")}
    if old.get("orthogonal"):
        first = {"kind": "orthogonalized", "inner": first, "momentum": 0.0}
    if (hybrid := old.get("hybrid", "none")) != "none":
        first = {"kind": "gauss-newton"} | first
        second = _plain(old, old["second"], old.get("second_lr"))
        first = {"kind": hybrid, "first": first, "second": second}
        first |= _taken(old, "", "share=second_share" if hybrid == "blend" else "switch_at patience")
    paced = _taken(old, "", "trust_radius")
    if old.get("length_rule", "fixed") != "fixed":
        paced["length"] = {"kind": "backtracking", **_taken(old, "", "halvings")}
    if paced.get("trust_radius") is not None or "length" in paced:
        first = {"kind": "paced", "inner": first, **paced}
    return first


def _plain(old: Table, name: str | None, lr: float | None) -> Table:
    """Return one optimizer with its settings from the flat table."""
    new: Table = {} if name is None else {"kind": name}
    new |= {} if lr is None else {"lr": lr}
    new |= _taken(old, name or "gauss-newton") | _taken(old, "", "weight_decay")
    if (name or "gauss-newton") == "gauss-newton":
        if solver := _solver(old):
            new["solver"] = solver
        if "metric" in old:
            is_features = old["metric"] == "features"
            new["metric"] = {"kind": "features", **_taken(old, "features")} if is_features else None
    return new


def _solver(old: Table) -> Table:
    kind = "block" if old.get("inverse") == "block" else old.get("solver", "dense")
    kind = "minimum-norm" if kind == "dense" else kind
    new = {"kind": kind} if "inverse" in old or "solver" in old else {}
    new |= _taken(old, kind)
    if new.get("outputs") == "contrasts":
        new["outputs"] = "centered-logits"
    if kind == "cg" and "preconditioner" in old:
        has_blocks = old["preconditioner"] == "blocks"
        new["preconditioner"] = {"kind": "blocks", **_taken(old, "blocks")} if has_blocks else None
    return new


def _removed(old: Table) -> str:
    """Return the name of the removed feature that an optimizer uses; "" if there is none."""
    if old.get("hybrid") in ("agreement", "couplings"):
        return str(old["hybrid"])
    if old.get("length_rule") == "second-batch":
        return "second-batch"
    if old.get("decay_to", "zero") != "zero":
        return "decay-to-start"
    return "trust-change" if old.get("trust_change") is not None else ""


def _taken(old: Table, kind: str, names: str = "") -> Table:
    """Return the fields of a kind that are present in the flat table, under their new names."""
    pairs = (name.partition("=") for name in (names or _OF.get(kind, "")).split())
    return {new: old[before or new] for new, _, before in pairs if (before or new) in old}
