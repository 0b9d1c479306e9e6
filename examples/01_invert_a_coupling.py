# %% [markdown]
# A coupling changes one half of its input by adding A W, where A are features of the other half and W the
# weights. The other half is unchanged, so the inverse computes the same features and subtracts A W.

# %%
import numpy as np

import revgn

rng = np.random.default_rng(0)
layer = revgn.draw_coupling(0, 8, 32, rng)  # changes half 0; d/2 = 8, h = 32
params = revgn.init(layer, rng, 0.1)
x = revgn.Halves(rng.standard_normal((5, 8)), rng.standard_normal((5, 8)))

y = revgn.forward(layer, params, x)
back = revgn.inverse(layer, params, y)
print("largest error of inverse(forward(x)):", max(np.abs(b - a).max() for a, b in zip(x, back, strict=True)))

# %% [markdown]
# The Jacobian of the output with respect to W is A (x) I. The smallest change of W that produces a requested
# change of the half therefore needs only the pseudoinverse of A.

# %%
_, point = revgn.linearize(layer, params, x)
requested = rng.standard_normal((5, 8))
dy = revgn.Halves(requested, 0.0 * requested)
step = revgn.pinv_params(layer, point, dy, revgn.PinvRule())
print("rank of the features:", step.info.rank)
print("largest error of the realized change:", np.abs(step.realized.first - requested).max())
