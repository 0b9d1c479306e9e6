# %% [markdown]
# Two worker processes train six runs on a grid of three learning rates and two seeds. Then the runs are
# compared: one row per learning rate, with mean and standard deviation over the seeds.

# %%
import tempfile
from pathlib import Path

import revgn
from revgn import Plan, compare_runs, parse_axis, run_sweep


def main() -> None:
    base = {
        "data": {"subset": 500, "validation": 0.2},
        "network": {"hidden": 64},
        "optimizer": {"solver": {"damping": 0.1}},
        "training": {"epochs": 2, "batch_size": 100},
    }
    plan = Plan(base, (parse_axis("optimizer.lr", "0.1,0.3,1"), parse_axis("training.seed", "0..1")))
    folder = Path(tempfile.mkdtemp()) / "learning-rates"
    board = run_sweep(plan, folder, workers=2)
    print(len(board), "trials:", {state.status for state in board.values()})

    compared = compare_runs(revgn.open_runs(folder))
    for row in compared.rows:
        accuracy = row.metrics["test_accuracy"]
        print(
            row.settings,
            f"test accuracy {accuracy.mean:.3f} +- {accuracy.std:.3f} over {accuracy.count} seeds",
        )
    print("sorted by", compared.judged, "(best first)")


# %% [markdown]
# Each worker process imports this script, so the code that starts them must be guarded.

# %%
if __name__ == "__main__":
    main()
