# %% [markdown]
# Use your own layer (defined in example 02), loss and optimizer in run folders. A network with this layer and
# loss is trained with each solver and then with the new optimizer.

# %%
import runpy
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

import revgn

Scaling = runpy.run_path(str(Path(__file__).with_name("02_check_a_layer_of_your_own.py")))["Scaling"]


class Huber(NamedTuple):
    delta: float = 1.0


class SignDescent(NamedTuple):
    lr: float = 1e-3
    weight_decay: float = 0.0


revgn.output_step.register(Huber)(lambda loss, z, t: np.clip(z - t, -loss.delta, loss.delta))
revgn.loss_gradient.register(Huber)(lambda loss, z, t: revgn.output_step(loss, z, t) / len(z))


@revgn.loss_value.register(Huber)
def huber(loss, z, t):
    eps = revgn.output_step(loss, z, t)
    return np.sum(eps * (z - t) - 0.5 * eps * eps) / len(z)


revgn.init_state.register(SignDescent)(lambda optimizer, network, params: ())


@revgn.direction.register(SignDescent)
def sign_descent(optimizer, state, params, at, scale=1.0):
    return revgn.Direction(revgn.trees.map_leaves(np.sign, revgn.batch_gradient(at)), state, None)


# %%
base = {"data": {"subset": 300}, "training": {"dtype": "float64", "batch_size": 50, "steps": 12}}
data = revgn.load_data(revgn.build_config(base))
rng = np.random.default_rng(0)
pairs = [revgn.draw_coupling(k % 2, 32, 64, rng) for k in range(4)]
chain = revgn.Chain((*pairs[:2], Scaling(32), *pairs[2:]))
own = {"network": revgn.Network(64, chain, revgn.draw_readout(32, 10, rng)), "loss": Huber()}
solvers = (revgn.MinimumNorm(0.1), revgn.MinimumNorm(0.1, memory=10**6), revgn.ConjugateGradients(0.1))
steps = [
    revgn.GaussNewton(solver, lr=0.5, momentum=0.5) for solver in (*solvers, revgn.BlockWise(damping=0.1))
]
with tempfile.TemporaryDirectory() as folder:
    for number, optimizer in enumerate((*steps, SignDescent())):
        run = Path(folder) / str(number)
        revgn.start_run(revgn.build_problem(revgn.build_config(base), data, **own, optimizer=optimizer), run)
        more = revgn.build_config({"training": {"steps": 20}}, base)
        revgn.resume_run(run, revgn.build_problem(more, data, **own, optimizer=optimizer))
        losses = revgn.open_run(run).epochs["train_loss"]
        print(f"{type(getattr(optimizer, 'solver', optimizer)).__name__:<20}", losses[0], "->", losses[-1])
        assert losses[-1] < losses[0]
