"""New names of older settings, and the names here of settings that other libraries name differently."""

_NEW = {
    "optimizer.name": "optimizer.kind",
    "optimizer.inverse": "optimizer.solver",
    "optimizer.shares": "optimizer.solver.block_weights",
    "optimizer.outputs": "optimizer.solver.outputs, with centered-logits for contrasts",
    "optimizer.carry": "optimizer.momentum",
    "optimizer.carry_limit": "optimizer.momentum_limit",
    "optimizer.metric_floor": "optimizer.metric.floor",
    "optimizer.metric_mean": "optimizer.metric.decay",
    "optimizer.metric_every": "optimizer.metric.every",
    "optimizer.factor_every": "optimizer.every",
    "optimizer.factor_mean": "optimizer.decay",
    "optimizer.orthogonal": 'optimizer = {kind = "orthogonalized", inner = {...}}',
    "optimizer.adapt_damping": 'optimizer = {kind = "levenberg-marquardt", inner = {...}}',
    "optimizer.damping_raised": "optimizer.raised",
    "optimizer.damping_lowered": "optimizer.lowered",
    "optimizer.damping_min": "optimizer.lowest",
    "optimizer.damping_max": "optimizer.highest",
    "optimizer.length_rule": 'optimizer = {kind = "paced", length = "backtracking", inner = {...}}',
    "optimizer.hybrid": 'optimizer = {kind = "switch" or "blend", first = {...}, second = {...}}',
    "optimizer.second_lr": "optimizer.second.lr",
    "optimizer.second_share": "optimizer.share",
    "optimizer.schedule": "training.schedule",
    "optimizer.warmup": "training.schedule.warmup",
    "optimizer.floor": "training.schedule.floor",
    "optimizer.every": "training.schedule.every",
    "optimizer.gamma": "training.schedule.gamma",
    "data.validation_fraction": "data.validation",
    "data.data_folder": "data.folder",
    "data.crop": "data.augmentation, with resized-crop for true",
    "training.analyse": "training.analyse_rows",
    "training.average_decay": "training.average.decay",
    "training.average_from": "training.average.tail_start",
}
_CALLED = {"optimizer.learning_rate": "optimizer.lr"}
_GONE = ("carry_decay", "trust_change", "decay_to", "couplings", "agreement")


def renamed(path: str) -> str:
    """Return the hint for an older or common name, by its dotted path or last name; "" for other names."""
    name = path.rpartition(".")[2]
    if name in _GONE:
        return "was removed, since it did not help (examples/results)"
    for hint, names in (("is now", _NEW), ("is called", _CALLED)):
        ending = (new for old, new in names.items() if "." not in path and old.endswith(f".{name}"))
        if new := names.get(path) or next(ending, ""):
            return f"{hint} {new}"
    return ""
