# %% [markdown]
# Six runs by a grid of rates and seeds, on two worker processes; then what differs, and what came out.

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
    folder = Path(tempfile.mkdtemp()) / "rates"
    board = run_sweep(plan, folder, workers=2)
    print(len(board), "jobs:", {state.status for state in board.values()})

    compared = compare_runs(revgn.open_runs(folder))
    for row in compared.rows:
        accuracy = row.figures["test_accuracy"]
        print(
            row.settings,
            f"test accuracy {accuracy.mean:.3f} +- {accuracy.deviation:.3f} over {accuracy.count}",
        )
    print("best by", compared.judged, "first")


# %% [markdown]
# Worker processes import the script anew, so that what starts them stands behind this.

# %%
if __name__ == "__main__":
    main()
