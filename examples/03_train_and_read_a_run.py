# %% [markdown]
# `start_run` does in Python what `revgn train` does at the shell: it trains a network with given settings and
# writes a run folder. `open_run` reads the folder.

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
print("test accuracy at each evaluation:", run.epochs["test_accuracy"])
print("largest rho:", run.steps["rho"].max())

# %% [markdown]
# The file is plain HDF5, so any HDF5 library can read it.

# %%
with h5py.File(folder / "run.h5") as file:
    print("written by", file.attrs["source"], "with learning rate", file.attrs["config.optimizer.lr"])
    print("series per step:", ", ".join(file["steps"]))
