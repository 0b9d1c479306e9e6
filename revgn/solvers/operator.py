"""J, J^T and Theta = J J^T as linear operators of SciPy (cupyx on CuPy), for anybody's CG, eigsh or svds.

Vectors of outputs run sample by sample, (n, c) row by row; vectors of weights leaf by leaf, as
`trees.flatten` has them.
"""

from typing import Any

from revgn import trees
from revgn.arrays import Array, array_namespace, linear_operator
from revgn.solvers.jacobian import Jacobian, apply, apply_adjoint, output_count


def jacobian_operator(J: Jacobian) -> Any:
    """J (n c, number of weights); its adjoint `.T` or `.H` is J^T.

    Notes
    -----
    Law: <u, J v> = <J^T u, v>. Cost: one jvp, or one vjp, a product.
    """
    shape = (_outputs(J)[0] * _outputs(J)[1], trees.size(J.params))
    return linear_operator(
        shape,
        J.point.output.first,
        lambda v: _flat(apply(J, trees.unflatten(J.params, v))),
        lambda u: trees.flatten(apply_adjoint(J, _unflat(J, u))),
    )


def kernel_operator(J: Jacobian) -> Any:
    """Theta = J J^T (n c, n c), symmetric, without being formed.

    Notes
    -----
    Law: equals `tangent_kernel`. Cost: one vjp and one jvp a product.
    """
    size = _outputs(J)[0] * _outputs(J)[1]

    def product(u: Array) -> Array:
        return _flat(apply(J, apply_adjoint(J, _unflat(J, u))))

    return linear_operator((size, size), J.point.output.first, product, product)


def _outputs(J: Jacobian) -> tuple[int, int]:
    return J.point.output.first.shape[0], output_count(J)


def _flat(z: Array) -> Array:
    return array_namespace(z).reshape(z, (-1,))


def _unflat(J: Jacobian, u: Array) -> Array:
    return array_namespace(u).reshape(u, _outputs(J))
