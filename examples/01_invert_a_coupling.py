# %% [markdown]
# A coupling moves one half of its input by features of the other half, which it leaves alone. So it can be
# inverted exactly: the features are still there to be subtracted.

# %%
import numpy as np

import revgn

rng = np.random.default_rng(0)
layer = revgn.draw_coupling(0, 8, 32, rng)  # moves half 0; d/2 and h
params = revgn.init(layer, rng, 0.1)
x = revgn.Halves(rng.standard_normal((5, 8)), rng.standard_normal((5, 8)))

y = revgn.forward(layer, params, x)
back = revgn.inverse(layer, params, y)
print("largest error of inverse(forward(x)):", max(np.abs(b - a).max() for a, b in zip(x, back, strict=True)))

# %% [markdown]
# Its Jacobian in the weights is A (x) I, with A the features; so the smallest weight change that moves the
# half by a given amount comes from the pseudoinverse of A alone.

# %%
_, point = revgn.linearize(layer, params, x)
wanted = rng.standard_normal((5, 8))
dy = revgn.Halves(wanted, 0.0 * wanted)
step = revgn.pinv_params(layer, point, dy, revgn.PinvRule())
print("rank of the features:", step.info.rank)
print("wanted and realized differ by", np.abs(step.realized.first - wanted).max())
