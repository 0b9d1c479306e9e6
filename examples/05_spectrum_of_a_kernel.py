# %% [markdown]
# The spectrum of the tangent kernel is computed in two ways: from the kernel as a matrix, and with SciPy from
# products with the kernel. The second way also works for kernels that are too large for memory.

# %%
import numpy as np
from scipy.sparse.linalg import eigsh

import revgn
from revgn import tangent_kernel

rng = np.random.default_rng(0)
digits = revgn.load_dataset("digits")
x = ((digits.train.inputs[:60] - digits.shift) * digits.scale).astype(np.float64)
network = revgn.draw_network(revgn.Architecture(blocks=2, hidden=64), 64, 10, rng)
params = revgn.init(network, rng, 1e-3)
outputs, J = revgn.jacobian(network, params, x)

# %%
exact = np.linalg.eigvalsh(tangent_kernel(J))[::-1]
print("order", exact.size, " largest", exact[0], " smallest", exact[-1])
print("effective rank (trace / largest):", exact.sum() / exact[0])

# %%
by_products = eigsh(revgn.kernel_operator(J), k=5, which="LM", return_eigenvectors=False)
by_products = np.sort(by_products)[::-1]
for a, b in zip(exact[:5], by_products, strict=True):
    print(f"{a:12.4f} {b:12.4f}   relative difference {abs(a - b) / a:.1e}")
