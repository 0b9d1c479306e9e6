"""J, J^T and Theta = J J^T as linear operators of SciPy (cupyx for CuPy), for use with cg, eigsh or svds.

A vector of outputs (n, c) is flattened row by row. A vector of weights has the order of `trees.flatten`.
"""

from typing import Any

from revgn import trees
from revgn.arrays import Array, array_namespace, linear_operator
from revgn.solvers.jacobian import Jacobian, apply, apply_adjoint, output_count


def jacobian_operator(J: Jacobian) -> Any:
    """Return J (n c, number of weights) as a linear operator. Its adjoint, `.T` or `.H`, is J^T.

    Notes
    -----
    Law: <u, J v> = <J^T u, v>. Cost: one jvp for a product with J, one vjp for a product with J^T.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> rng = np.random.default_rng(0)
    >>> network = revgn.draw_network(revgn.Architecture(blocks=1, hidden=16), 4, 2, rng)
    >>> params = revgn.init(network, rng, 0.1)
    >>> z, J = revgn.jacobian(network, params, rng.standard_normal((3, 4)))
    >>> revgn.jacobian_operator(J).shape == (6, revgn.trees.size(params))
    True
    """
    like, c = J.point.output.first, output_count(J)
    xp, n = array_namespace(like), like.shape[0]

    def product(v: Array) -> Array:
        return xp.reshape(apply(J, trees.unflatten(J.params, v)), (-1,))

    def adjoint(u: Array) -> Array:
        return trees.flatten(apply_adjoint(J, xp.reshape(u, (n, c))))

    return linear_operator((n * c, trees.size(J.params)), like, product, adjoint)


def kernel_operator(J: Jacobian) -> Any:
    """Return Theta = J J^T (n c, n c) as a symmetric linear operator, without forming the matrix.

    Notes
    -----
    Law: equals `tangent_kernel`. Cost: one vjp and one jvp for each product.

    Examples
    --------
    >>> import numpy as np
    >>> import revgn
    >>> rng = np.random.default_rng(0)
    >>> network = revgn.draw_network(revgn.Architecture(blocks=1, hidden=16), 4, 2, rng)
    >>> params = revgn.init(network, rng, 0.1)
    >>> z, J = revgn.jacobian(network, params, rng.standard_normal((3, 4)))
    >>> np.allclose(revgn.kernel_operator(J) @ z.ravel(), revgn.tangent_kernel(J) @ z.ravel())
    True
    """
    operator = jacobian_operator(J)
    return operator @ operator.H
