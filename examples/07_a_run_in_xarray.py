# %% [markdown]
# Analyse runs in xarray: labelled series with units, and several runs along a new dimension.
# xarray and pandas come with the extra `analysis`: `pip install '.[analysis]'`.

# %%
import tempfile
from pathlib import Path

import pandas
import xarray

import revgn

root = Path(tempfile.mkdtemp())
settings = {"data": {"subset": 500}, "network": {"hidden": 64}, "training": {"epochs": 2, "batch_size": 100}}
for seed in (0, 1):
    training = settings["training"] | {"seed": seed}
    revgn.start_run(revgn.build_config({**settings, "training": training}), root / f"seed{seed}")

# %%
runs = revgn.open_runs(root)
steps = revgn.to_xarray(runs[0], "steps")
print(steps[["loss", "rho", "seconds"]])
print(steps["seconds"].attrs)

# %%
names = pandas.Index([run.config["training"]["seed"] for run in runs], name="seed")
epochs = xarray.concat([revgn.to_xarray(run, "epochs") for run in runs], names, combine_attrs="drop")
print(epochs["test_accuracy"].mean("seed").to_series())

# %% [markdown]
# Rebuild the network of the best evaluation from its checkpoint, and apply it to the test images, which are
# normalized first.

# %%
trained = revgn.rebuild(runs[0], "best")
test = revgn.load_dataset("digits").test
x = ((test.inputs - trained.shift) * trained.scale).astype("float32")
hits = revgn.forward(trained.network, trained.params, x).argmax(axis=1) == test.targets.argmax(axis=1)
print("test accuracy after step", trained.step, "is", hits.mean())
