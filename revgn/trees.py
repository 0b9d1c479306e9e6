"""Trees of parameters: nested tuples of arrays, which are treated as vectors.

Named tuples keep their type, so tangents, cotangents, steps and moments of a layer's parameters have the same
type as the parameters.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from revgn.arrays import Array, array_namespace, blockwise, fuse, inner, total, zeros

Tree = TypeVar("Tree", bound=tuple[Any, ...])


def map_leaves(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Apply `function` to the corresponding leaves of trees of the same structure.

    Examples
    --------
    >>> import numpy as np
    >>> map_leaves(len, (np.zeros(2), (np.zeros(3),)))
    (2, (3,))
    """
    return cast("Tree", _map(function, tree, *others))


def _map(function: Callable[..., Any], *trees: Any) -> Any:
    first = trees[0]
    if not isinstance(first, tuple):
        return function(*trees)
    children = [_map(function, *nodes) for nodes in zip(*trees, strict=True)]
    return type(first)(*children) if hasattr(first, "_fields") else tuple(children)


def leaves(tree: Any) -> Iterator[Array]:
    """Yield the arrays of `tree` in order.

    Examples
    --------
    >>> list(leaves((1.0, (2.0, 3.0))))
    [1.0, 2.0, 3.0]
    """
    if isinstance(tree, tuple):
        for node in tree:
            yield from leaves(node)
    else:
        yield tree


def is_empty(tree: Any) -> bool:
    """Return whether `tree` contains no arrays, like the parameters of a layer that is not trained."""
    return next(leaves(tree), None) is None


def named_leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Array]]:
    """Yield (path, array) for each leaf; a path joins field names and positions, as in "3/weight".

    Examples
    --------
    >>> dict(named_leaves((1.0, (2.0, 3.0))))
    {'0': 1.0, '1/0': 2.0, '1/1': 3.0}
    """
    if isinstance(tree, tuple):
        names = getattr(tree, "_fields", range(len(tree)))
        for name, node in zip(names, tree, strict=True):
            yield from named_leaves(node, f"{prefix}/{name}" if prefix else str(name))
    else:
        yield prefix, tree


def elementwise(function: Callable[..., tuple[Any, ...]], *trees: Tree) -> tuple[Tree, ...]:
    """Apply an element-wise `function` to corresponding leaves; return a tree for each of its results.

    All results are computed together, piece by piece, so that memory is read once; see
    `revgn.arrays.blockwise`.
    """
    fused = fuse(function)
    found = [blockwise(fused, *nodes) for nodes in zip(*map(leaves, trees), strict=True)]
    results = map(iter, zip(*found, strict=True))
    return tuple(map_leaves(lambda _, of=of: next(of), trees[0]) for of in results)


def axpy(a: float | Array, x: Tree, y: Tree) -> Tree:
    """Return a x + y; a is a number or a 0-d array.

    Examples
    --------
    >>> import numpy as np
    >>> axpy(2.0, (np.array([1.0, 2.0]),), (np.array([0.5, 0.5]),))
    (array([2.5, 4.5]),)
    """
    return elementwise(lambda xi, yi: (a * xi + yi,), x, y)[0]


def add(x: Tree, y: Tree) -> Tree:
    """Return x + y.

    Examples
    --------
    >>> import numpy as np
    >>> add((np.array([1.0, 2.0]),), (np.array([0.5, 0.5]),))
    (array([1.5, 2.5]),)
    """
    return elementwise(lambda xi, yi: (xi + yi,), x, y)[0]


def scale(a: float, x: Tree) -> Tree:
    """Return a x.

    Examples
    --------
    >>> import numpy as np
    >>> scale(2.0, (np.array([1.0, 2.0]),))
    (array([2., 4.]),)
    """
    return elementwise(lambda xi: (a * xi,), x)[0]


def dot(x: Tree, y: Tree) -> Array:
    """Inner product <x, y> over all elements; a 0-d array.

    Examples
    --------
    >>> import numpy as np
    >>> x = (np.array([3.0]), np.array([0.0, 4.0]))
    >>> float(dot(x, x))
    25.0
    """
    return total([inner(xi, yi) for xi, yi in zip(leaves(x), leaves(y), strict=True)])


def norm(x: Tree) -> Array:
    """Euclidean norm |x| over all elements; a 0-d array.

    Examples
    --------
    >>> import numpy as np
    >>> float(norm((np.array([3.0]), np.array([0.0, 4.0]))))
    5.0
    """
    return dot(x, x) ** 0.5


def zeros_like(x: Tree) -> Tree:
    """Tree of zeros with the structure of `x`.

    Examples
    --------
    >>> import numpy as np
    >>> zeros_like((np.array([3.0, 4.0]),))
    (array([0., 0.]),)
    """
    return map_leaves(lambda xi: zeros(xi.shape, xi), x)


def flatten(x: Tree) -> Array:
    """Concatenate all elements of `x` into one vector, leaf by leaf, each leaf row by row.

    Examples
    --------
    >>> import numpy as np
    >>> flatten((np.eye(2), np.array([7.0])))
    array([1., 0., 0., 1., 7.])
    """
    vectors = [array_namespace(xi).reshape(xi, (-1,)) for xi in leaves(x)]
    return array_namespace(*vectors).concat(vectors)


def unflatten(like: Tree, vector: Array) -> Tree:
    """Tree with the structure of `like` whose `flatten` is `vector`.

    Examples
    --------
    >>> import numpy as np
    >>> unflatten((np.zeros(1), np.zeros(2)), np.array([1.0, 2.0, 3.0]))
    (array([1.]), array([2., 3.]))
    """
    position = 0

    def cut(leaf: Array) -> Array:
        nonlocal position
        begin, position = position, position + math.prod(leaf.shape)
        return array_namespace(vector).reshape(vector[begin:position], leaf.shape)

    return map_leaves(cut, like)


def size(x: Tree) -> int:
    """Number of elements in all arrays of `x`.

    Examples
    --------
    >>> import numpy as np
    >>> size((np.eye(2), np.array([7.0])))
    5
    """
    return sum(math.prod(xi.shape) for xi in leaves(x))
