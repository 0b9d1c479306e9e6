# %% [markdown]
# What `revgn train` does, from Python: settings in, a run folder out, and the folder read back.

# %%
import tempfile
from pathlib import Path

import h5py

import revgn

config = revgn.build_config({"training": {"epochs": 2, "batch_size": 128}, "network": {"hidden": 128}})
folder = Path(tempfile.mkdtemp()) / "digits"
outcome = revgn.start_run(config, folder)
print(outcome.status, "after", outcome.step, "steps")

# %%
run = revgn.open_run(folder)
print("test accuracy by evaluation:", run.epochs["test_accuracy"])
print("largest rho:", run.steps["rho"].max())

# %% [markdown]
# The file is plain HDF5: any reader will do.

# %%
with h5py.File(folder / "run.h5") as file:
    print("made by", file.attrs["source"], "with lr", file.attrs["config.optimizer.lr"])
    print("series:", ", ".join(file["steps"]))
