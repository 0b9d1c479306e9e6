# %% [markdown]
# This example builds one exact Gauss-Newton step D = J^+ eps from its parts: the tangent kernel of the
# Jacobian J, a linear solve, and a product with J^T. `solve(MinimumNorm(), J, eps)` does the same.

# %%
import numpy as np

import revgn
from revgn import apply, apply_adjoint, tangent_kernel

rng = np.random.default_rng(0)
shape = revgn.Architecture(blocks=2, hidden=40, activation="tanh")
network = revgn.draw_network(shape, 8, 3, rng)
params = revgn.init(network, rng, 0.1)
x, labels = rng.standard_normal((10, 8)), np.eye(3)[rng.integers(3, size=10)]

# %% [markdown]
# The output step eps is the change of the outputs that the step must produce. For cross-entropy,
# eps = p - y: the softmax probabilities minus the labels.

# %%
outputs, J = revgn.jacobian(network, params, x)
eps = revgn.output_step(revgn.CrossEntropy(), outputs, labels)
print("loss before:", float(revgn.loss_value(revgn.CrossEntropy(), outputs, labels)))

# %% [markdown]
# The tangent kernel Theta = J J^T has order n c and a closed form. Solve Theta lambda = eps, then
# D = J^T lambda.

# %%
n, c = eps.shape
Theta = tangent_kernel(J)  # row s * c + o belongs to output o of sample s
lam = np.linalg.solve(Theta, eps.ravel()).reshape(n, c)
D = apply_adjoint(J, lam)
print("rho = |J D - eps| / |eps| =", np.linalg.norm(apply(J, D) - eps) / np.linalg.norm(eps))

# %% [markdown]
# Compare D with the step of the library, and with the pseudoinverse of the dense Jacobian, which is formed
# row by row.

# %%
by_library, info = revgn.solve(revgn.MinimumNorm(), J, eps)
flat = np.concatenate([leaf.ravel() for leaf in revgn.trees.leaves(D)])
other = np.concatenate([leaf.ravel() for leaf in revgn.trees.leaves(by_library)])
rows = []
for k in range(n * c):
    unit = np.zeros((n, c))
    unit[divmod(k, c)] = 1.0
    rows.append(np.concatenate([leaf.ravel() for leaf in revgn.trees.leaves(apply_adjoint(J, unit))]))
dense = np.linalg.pinv(np.array(rows)) @ eps.ravel()
print("norm of the step |D| =", np.linalg.norm(flat))
print("distance to the step of the library:", np.linalg.norm(flat - other))
print("distance to J^+ eps:", np.linalg.norm(flat - dense))

# %%
params = revgn.trees.axpy(-1.0, D, params)
after = revgn.forward(network, params, x)
print("loss after: ", float(revgn.loss_value(revgn.CrossEntropy(), after, labels)))
