"""The laws of a layer's maps, whose contracts are in `revgn.maps`. A network is a layer in this sense.

Let f be the function of the layer, and J_x = df/dx and J_W = df/dW its derivatives at a point:

    inverse             f^-1(f(x)) = x                          f(f^-1(y)) = y
    linearize           y is equal to f(x), bit by bit
    linearize_inverse   for y = f(x), returns x and the point at x
    tangent             J d = lim (f(. + e d) - f(. - e d)) / 2e
    linear              J(a u + v) = a J u + J v                likewise for J^T
    adjoint             <ybar, J_x dx + J_W dW> = <J_x^T ybar, dx> + <J_W^T ybar, dW>
    inverse tangent     J_x^-1 J_x dx = dx
    rows, matrices, features, halves            see `revgn.testing.rows`
    pinv                J G J = J,  G J G = G,  J G and G J symmetric,  with G = J_W^+
    purity              a second call gives the same bits; arguments do not change
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from revgn import maps
from revgn._dispatch import Generic, has_map
from revgn.linalg import PinvRule, machine_epsilon
from revgn.maps import Data, Layer, Params, Point
from revgn.testing.compare import (
    Kind,
    agree,
    assert_close,
    assert_same_kind,
    draw_like,
    dtype_of,
    inner,
    norm,
    relative_error,
    snapshot,
    tolerance,
)
from revgn.testing.rows import check_features, check_halves, check_matrices, check_rows
from revgn.trees import axpy, leaves, map_leaves, scale, size, zeros_like

_STEPS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)  # steps of finite differences, relative to the output


class Check(Protocol):
    """A law as a function of a layer, its parameters and an input."""

    def __call__(self, layer: Layer, params: Params, x: Data, *, kind: Kind, seed: int = 0) -> None:
        """Raise `AssertionError` if the law does not hold."""


def check_inverse(layer: Layer, params: Params, x: Data, *, kind: Kind = "map", seed: int = 0) -> None:
    """Check f^-1(f(x)) = x, and f(f^-1(y)) = y for random y.

    In all checks of this module, `kind` selects the tolerance (see `tolerance`), `seed` is the seed of random
    vectors, and a law that does not hold raises `AssertionError`.
    """
    name, limit = type(layer).__name__, tolerance(dtype_of(x), kind)
    y = draw_like(np.random.default_rng(seed), x, scale=norm(x) / size(x) ** 0.5)
    assert_close(
        f"{name}: inverse(forward(x)) = x",
        maps.inverse(layer, params, maps.forward(layer, params, x)),
        x,
        limit,
    )
    assert_close(
        f"{name}: forward(inverse(y)) = y",
        maps.forward(layer, params, maps.inverse(layer, params, y)),
        y,
        limit,
    )


def check_linearize(layer: Layer, params: Params, x: Data, *, kind: Kind = "same", seed: int = 0) -> None:
    """Check that the output of `linearize` is equal to the output of `forward`, bit by bit."""
    y, _ = maps.linearize(layer, params, x)
    law = f"{type(layer).__name__}: linearize(x) = forward(x)"
    assert_close(law, y, maps.forward(layer, params, x), tolerance(dtype_of(x), kind))


def check_linearize_inverse(
    layer: Layer, params: Params, x: Data, *, kind: Kind = "map", seed: int = 0
) -> None:
    """Check that `linearize_inverse` at y = f(x) returns x and the same point as `linearize` at x."""
    name, limit = type(layer).__name__, tolerance(dtype_of(x), kind)
    y, point = maps.linearize(layer, params, x)
    back, same_point = maps.linearize_inverse(layer, params, y)
    assert_close(f"{name}: linearize_inverse(forward(x)) gives x", back, x, limit)
    assert_close(f"{name}: linearize_inverse(forward(x)) gives the point at x", same_point, point, limit)


def check_tangent(layer: Layer, params: Params, x: Data, *, kind: Kind = "difference", seed: int = 0) -> None:
    """Check `jvp_input` and `jvp_params`, as far as the layer has them, against central differences.

    J d = (f(. + e d) - f(. - e d)) / 2e + O(e^2). Steps e that change the output by a relative amount of 1e-2
    to 1e-6 are tried, and the smallest error counts. Large steps suffer from curvature, small ones from
    rounding. In between, a correct derivative agrees to about eps^(2/3), where eps is the machine precision,
    and a wrong derivative does not agree for any step. The check does not apply at a kink, such as relu at 0.
    """
    limit = tolerance(dtype_of(x), kind)
    y, point = maps.linearize(layer, params, x)
    rng = np.random.default_rng(seed)
    for way in _ways(layer, params, x, point):
        direction = draw_like(rng, way.at)
        Jd = way.jvp(direction)
        unit = norm(y) / (norm(Jd) or 1.0)
        found = []
        for step in _STEPS:
            e = step * unit
            ahead, behind = (way.moved(axpy(sign * e, direction, way.at)) for sign in (1.0, -1.0))
            quotient = scale(0.5 / e, axpy(-1.0, behind, ahead))
            found.append((relative_error(Jd, quotient), quotient))
        best = min(found, key=lambda pair: pair[0])[1]
        law = f"{type(layer).__name__}: {way.jvp_name} = derivative of forward"
        assert_close(law, Jd, best, limit)


def check_linear(layer: Layer, params: Params, x: Data, *, kind: Kind = "map", seed: int = 0) -> None:
    """Check that the jvp and vjp maps of the layer are linear: J(a u + v) = a J u + J v, and J 0 = 0."""
    name, limit = type(layer).__name__, tolerance(dtype_of(x), kind)
    y, point = maps.linearize(layer, params, x)
    rng, a = np.random.default_rng(seed), -1.7
    for way in _ways(layer, params, x, point):
        for map_name, linear, domain in ((way.jvp_name, way.jvp, way.at), (way.vjp_name, way.vjp, y)):
            u, v = draw_like(rng, domain), draw_like(rng, domain)
            expected = axpy(a, linear(u), linear(v))
            assert_close(f"{name}: {map_name} is linear", linear(axpy(a, u, v)), expected, limit)
            nothing = linear(zeros_like(domain))
            assert_close(f"{name}: {map_name}(0) = 0", nothing, zeros_like(nothing), 0.0)


def check_adjoint(layer: Layer, params: Params, x: Data, *, kind: Kind = "map", seed: int = 0) -> None:
    """Check <ybar, J d> = <J^T ybar, d> for the input, for the parameters, and for both together.

    Maps that the layer does not have are left out. Errors are relative to |ybar| |J d|. J^T ybar must have
    the struct, dtype and device of d. `jvp` and `vjp`, which do both at once, must agree with the others.
    """
    name, limit = type(layer).__name__, tolerance(dtype_of(x), kind)
    y, point = maps.linearize(layer, params, x)
    rng = np.random.default_rng(seed)
    y_bar = draw_like(rng, y)
    pushed, left = zeros_like(y), 0.0
    for way in _ways(layer, params, x, point):
        direction = draw_like(rng, way.at)
        Jd, pulled = way.jvp(direction), way.vjp(y_bar)
        law = f"{name}: <y_bar, {way.jvp_name}(d)> = <{way.vjp_name}(y_bar), d>"
        assert_same_kind(law, Jd, y)
        assert_same_kind(law, pulled, way.at)
        agree(law, inner(y_bar, Jd), inner(pulled, direction), norm(y_bar) * norm(Jd), limit)
        pushed, left = axpy(1.0, pushed, Jd), left + inner(pulled, direction)
    law = f"{name}: <y_bar, J(dx, dW)> = <J^T y_bar, (dx, dW)>"
    agree(law, inner(y_bar, pushed), left, norm(y_bar) * norm(pushed), limit)
    if all(has_map(of, type(layer)) for of in (maps.jvp_input, maps.jvp_params)):
        _check_together(layer, params, x, y_bar, limit)


def _check_together(layer: Layer, params: Params, x: Data, y_bar: Data, limit: float) -> None:
    """Check that `jvp` and `vjp` equal the maps of the input and of the parameters."""
    name, here = type(layer).__name__, (layer, params, maps.linearize(layer, params, x)[1])
    rng = np.random.default_rng(1)
    dx, dparams = draw_like(rng, x), draw_like(rng, params)
    apart = axpy(1.0, (maps.jvp_input(*here, dx),), (maps.jvp_params(*here, dparams),))[0]
    assert_close(f"{name}: jvp = jvp_input + jvp_params", maps.jvp(*here, dx, dparams), apart, limit)
    pulled = maps.vjp_input(*here, y_bar), maps.vjp_params(*here, y_bar)
    assert_close(f"{name}: vjp = vjp_input and vjp_params", maps.vjp(*here, y_bar), pulled, limit)


def check_inverse_tangent(
    layer: Layer, params: Params, x: Data, *, kind: Kind = "map", seed: int = 0
) -> None:
    """Check J_x^-1 J_x dx = dx and J_x J_x^-1 dy = dy: `jvp_inverse` undoes `jvp_input`."""
    name, limit = type(layer).__name__, tolerance(dtype_of(x), kind)
    _, point = maps.linearize(layer, params, x)
    d = draw_like(np.random.default_rng(seed), x)
    back = maps.jvp_inverse(layer, params, point, maps.jvp_input(layer, params, point, d))
    assert_close(f"{name}: jvp_inverse(jvp_input(dx)) = dx", back, d, limit)
    back = maps.jvp_input(layer, params, point, maps.jvp_inverse(layer, params, point, d))
    assert_close(f"{name}: jvp_input(jvp_inverse(dy)) = dy", back, d, limit)


def check_pinv(layer: Layer, params: Params, x: Data, *, kind: Kind = "solve", seed: int = 0) -> None:
    """Check the four Penrose identities of G = J_W^+ on random vectors, and that `realized` is J_W G dy.

    The identities are J G J = J, G J G = G, and J G and G J symmetric, with `PinvRule()`. J is the derivative
    in the parameters that are `solved` for, and G changes no others. With the condition number c of J_W, the
    tolerance of identities between outputs is at least c times the rounding unit: in G v = J^T lambda, lambda
    is up to c times larger than G v, and is rounded. The tolerance of identities between parameters is c
    times the tolerance of a map, since a small residual only bounds the error of the outputs.
    """
    name, limit = type(layer).__name__, tolerance(dtype_of(x), kind)
    y, point = maps.linearize(layer, params, x)
    factored = maps.factor_params(layer, point, PinvRule())
    condition = factored.info.s_max / factored.info.s_min if factored.info.s_min else 1.0
    of_outputs = max(limit, condition * machine_epsilon(dtype_of(x), next(leaves(x))))

    def J(d: Params) -> Any:  # noqa: N802
        return maps.jvp_params(layer, params, point, d)

    def G(v: Any) -> Params:  # noqa: N802
        return maps.solve_params(layer, point, factored, v).params

    rng = np.random.default_rng(seed)
    d, e = (maps.solved(layer, draw_like(rng, params)) for _ in range(2))
    v, u = draw_like(rng, y), draw_like(rng, y)
    Jd, Gv, JGv, GJd = J(d), G(v), J(G(v)), G(J(d))
    assert_close(f"{name}: J G J = J", J(GJd), Jd, of_outputs)
    assert_close(f"{name}: G J G = G", G(JGv), Gv, limit * condition)
    agree(f"{name}: J G is symmetric", inner(u, JGv), inner(J(G(u)), v), norm(u) * norm(v), of_outputs)
    agree(f"{name}: G J is symmetric", inner(e, GJd), inner(G(J(e)), d), norm(e) * norm(d), limit * condition)
    assert_close(f"{name}: solved(G v) = G v", maps.solved(layer, Gv), Gv, 0.0)
    step = maps.pinv_params(layer, point, v, PinvRule())
    assert_close(f"{name}: realized = jvp_params(step)", step.realized, J(step.params), of_outputs)
    assert_close(f"{name}: pinv_params = solve_params with factor_params", step.params, Gv, 0.0)
    if has_map(maps.rank_bound, type(layer)) and factored.info.rank > maps.rank_bound(layer, point):
        raise AssertionError(
            f"{name}: the rank found is {factored.info.rank}, rank_bound is {maps.rank_bound(layer, point)}"
        )


def check_purity(layer: Layer, params: Params, x: Data, *, kind: Kind = "same", seed: int = 0) -> None:
    """Check that a second call of each map gives the same bits, and that no map changes its arguments."""
    limit = tolerance(dtype_of(x), kind)
    for name, call, arguments in _calls(layer, params, x, np.random.default_rng(seed)):
        law = f"{type(layer).__name__}: {name}"
        before = snapshot((_arrays(layer), *arguments))
        once, again = call(), call()
        assert_close(f"{law} gives the same result twice", again, once, limit)
        if snapshot((_arrays(layer), *arguments)) != before:
            raise AssertionError(f"{law} changed its arguments")


class Law(NamedTuple):
    """A law: its check, its tolerance, and the maps that a layer needs for it (all, or one of them)."""

    check: Check
    kind: Kind
    needs: tuple[Generic[Any, Any], ...]
    one_is_enough: bool = False


LAWS: dict[str, Law] = {
    "inverse": Law(check_inverse, "map", (maps.forward, maps.inverse)),
    "linearize": Law(check_linearize, "same", (maps.linearize,)),
    "linearize_inverse": Law(check_linearize_inverse, "map", (maps.linearize, maps.linearize_inverse)),
    "tangent": Law(check_tangent, "difference", (maps.jvp_input, maps.jvp_params), one_is_enough=True),
    "linear": Law(check_linear, "map", (maps.jvp_input, maps.jvp_params), one_is_enough=True),
    "adjoint": Law(check_adjoint, "map", (maps.vjp_input, maps.vjp_params), one_is_enough=True),
    "inverse_tangent": Law(check_inverse_tangent, "map", (maps.jvp_input, maps.jvp_inverse)),
    "rows": Law(check_rows, "map", (maps.row_features, maps.row_cotangents, maps.vjp_params)),
    "matrices": Law(
        check_matrices, "map", (maps.to_matrices, maps.from_matrices, maps.weight_forms, maps.row_features)
    ),
    "features": Law(check_features, "map", (maps.with_features, maps.to_matrices, maps.from_matrices)),
    "halves": Law(check_halves, "map", (maps.moved_halves,)),
    "pinv": Law(check_pinv, "solve", (maps.factor_params, maps.solve_params, maps.jvp_params)),
    "purity": Law(check_purity, "same", (maps.forward,)),
}
"""All laws of layers, by name."""


def laws_of(layer: type) -> tuple[str, ...]:
    """Return the names of the laws that apply to the type `layer`, because it has their maps."""
    return tuple(
        name
        for name, law in LAWS.items()
        if (any if law.one_is_enough else all)(has_map(needed, layer) for needed in law.needs)
    )


def check_layer(layer: Layer, params: Params, x: Data, *, kind: Kind = "map", seed: int = 0) -> None:
    """Check all laws that apply to a layer.

    Parameters
    ----------
    layer : struct
        A layer, chain or network, on any backend.
    params : tree
        Its parameters. They should not be small, since many wrong derivatives look correct at 0.
    x : halves (n, d/2), or an array if the layer takes one
        An input away from kinks.
    kind : {"map", "chain"}
        Tolerance of most laws: rounding errors of a single map, or of a chain of maps.
    seed : int
        Seed of random vectors.

    Raises
    ------
    AssertionError
        At the first law that does not hold.

    Notes
    -----
    Cost: dozens of calls of each map.
    """
    for name in laws_of(type(layer)):
        law = LAWS[name]
        law.check(layer, params, x, kind=kind if law.kind == "map" else law.kind, seed=seed)


class _Way(NamedTuple):
    """A derivative of the layer: with respect to the input, or to the parameters."""

    jvp_name: str
    vjp_name: str
    at: Any
    moved: Callable[[Any], Data]
    jvp: Callable[[Any], Data]
    vjp: Callable[[Data], Any]


def _ways(layer: Layer, params: Params, x: Data, point: Point) -> list[_Way]:
    here = layer, params, point
    ways: list[tuple[Generic[Any, Any], Generic[Any, Any], Any, Callable[[Any], Data]]] = [
        (maps.jvp_input, maps.vjp_input, x, lambda moved: maps.forward(layer, params, moved)),
        (maps.jvp_params, maps.vjp_params, params, lambda moved: maps.forward(layer, moved, x)),
    ]
    return [
        _Way(jvp.__name__, vjp.__name__, at, moved, partial(jvp, *here), partial(vjp, *here))
        for jvp, vjp, at, moved in ways
        if has_map(jvp, type(layer))
    ]


def _calls(
    layer: Layer, params: Params, x: Data, rng: np.random.Generator
) -> list[tuple[str, Callable[[], Any], tuple[Any, ...]]]:
    """Return each map of the layer as (name, call, arguments)."""
    y, point = maps.linearize(layer, params, x)
    dx, dparams, dy = draw_like(rng, x), draw_like(rng, params), draw_like(rng, y)
    calls: list[tuple[Generic[Any, Any], tuple[Any, ...]]] = [
        (maps.forward, (params, x)),
        (maps.inverse, (params, y)),
        (maps.linearize, (params, x)),
        (maps.linearize_inverse, (params, y)),
        (maps.jvp_input, (params, point, dx)),
        (maps.jvp_params, (params, point, dparams)),
        (maps.jvp_inverse, (params, point, dy)),
        (maps.vjp_input, (params, point, dy)),
        (maps.vjp_params, (params, point, dy)),
        (maps.to_matrices, (dparams,)),
        (maps.row_features, (point,)),
        (maps.row_cotangents, (params, point, map_leaves(lambda of: of[None, ...], dy))),
    ]
    present: list[tuple[str, Callable[[], Any], tuple[Any, ...]]] = [
        (function.__name__, partial(function, layer, *arguments), arguments)
        for function, arguments in calls
        if has_map(function, type(layer))
    ]
    if has_map(maps.solve_params, type(layer)):

        def solve() -> Any:
            step = maps.pinv_params(layer, point, dy, PinvRule())
            return step.params, step.realized

        present.append(("pinv_params", solve, (point, dy)))
    return present


def _arrays(layer: Layer) -> tuple[Any, ...]:
    """Return the frozen arrays of a struct and of the structs within it."""
    if dataclasses.is_dataclass(layer):
        return tuple(_arrays(getattr(layer, field.name)) for field in dataclasses.fields(layer))
    if isinstance(layer, tuple):
        return tuple(_arrays(node) for node in layer)
    return (layer,) if hasattr(layer, "dtype") else ()
