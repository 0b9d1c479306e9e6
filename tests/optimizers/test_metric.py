"""The features metric: dense references, the limit of a large floor, renewal, and refused networks."""

import numpy as np
import pytest
from cases import CONVOLUTIONAL, NETWORKS
from reference import dense

from revgn import trees
from revgn.arrays import to_host
from revgn.errors import UsageError
from revgn.losses import SquaredError, output_step
from revgn.networks import from_halves
from revgn.optimizers import FeatureMetric, GaussNewton, Linearization, init_state, update
from revgn.optimizers.metric import _root, in_metric, init_metric, update_metric
from revgn.solvers import BlockWise, ConjugateGradients, MinimumNorm, apply, equation, jacobian
from revgn.solvers.kernel import lower_kernel
from revgn.solvers.kernel_rows import pulled_back
from revgn.testing import assert_close

KEPT = [  # and of full rank in float64
    case for case in NETWORKS if case.architecture.activations == "keep" and case.name not in ("n>h", "d=1")
]


def taken(optimizer, case, library, batches=1):
    """The last of several updates on different batches, its J and eps, and the inputs of all batches."""
    net, params, x = case.build(library, "float64")
    rng, seen = np.random.default_rng(61), []
    state = init_state(optimizer, net, params)
    for _ in range(batches):
        x = library.asarray(rng.standard_normal(x.shape))
        z, J = jacobian(net, params, x)
        t = z + library.asarray(rng.standard_normal(z.shape))
        before = params
        done = update(optimizer, state, params, Linearization(SquaredError(), z, t, J))
        seen.append(J)
        params, state = done.params, done.state
    D = trees.axpy(-1.0, done.params, before)
    return D, done, J, output_step(SquaredError(), z, t), seen


def features(layer, u):
    """The full features A = [phi(u C), 1], also for linear features."""
    v = u @ layer.features.projection
    phi = {"relu": lambda v: np.maximum(v, 0), "tanh": np.tanh, "identity": lambda v: v}
    if getattr(layer.features, "activation", "identity") == "gelu":
        from scipy.special import ndtr

        return np.hstack([v * ndtr(v), np.ones((len(v), 1))])
    return np.hstack([phi[getattr(layer.features, "activation", "identity")](v), np.ones((len(v), 1))])


def dense_metric(seen, floor, decay):
    """M, block diagonal over the couplings, from the inputs of each coupling in all batches seen."""
    blocks = []
    for k, layer in enumerate(seen[0].network.body.layers):
        P = None
        for J in seen:
            at = J.point.input
            for earlier, of in zip(J.network.body.layers[:k], J.params[:k], strict=True):
                moved = at[earlier.half] + features(earlier, at[1 - earlier.half]) @ of.weight
                at = at._replace(**{("first", "second")[earlier.half]: moved})
            A = features(layer, at[1 - layer.half])
            own = A.T @ A / len(A)
            P = own if P is None else decay * P + (1 - decay) * own
        M = P / np.mean(np.diagonal(P)) + floor * np.eye(len(P))
        blocks.append(np.kron(M, np.eye(seen[0].params[k].weight.shape[1])))
    return blocks


def applied(blocks, X):
    """M^-1 X."""
    parts = np.split(X, np.cumsum([len(block) for block in blocks])[:-1])
    return np.concatenate([np.linalg.solve(M, part) for M, part in zip(blocks, parts, strict=True)])


@pytest.mark.parametrize("damping", [0.0, 0.3])
@pytest.mark.parametrize("case", KEPT, ids=lambda case: case.name)
def test_the_step_is_the_smallest_in_the_metric(case, damping, numpy_backend):
    """D = M^-1 J^T (J M^-1 J^T + mu I)^-1 eps, with mu relative to that kernel's mean diagonal."""
    optimizer = GaussNewton(MinimumNorm(damping), metric=FeatureMetric(0.5))
    D, done, J, eps, seen = taken(optimizer, case, numpy_backend)
    truth = dense.jacobian(J.network, J.params, from_halves(J.network, J.point.input))
    MJ = applied(dense_metric(seen, 0.5, 0.95), truth.T)
    kernel = truth @ MJ
    kernel += damping * np.mean(np.diagonal(kernel)) * np.eye(len(kernel))
    expected = MJ @ np.linalg.lstsq(kernel, dense.rows(eps), rcond=1e-12)[0]
    assert_close("D", dense.flat(D), expected, 1e-8)
    if not damping:
        assert done.solve.rho < 1e-9


def test_earlier_batches_contribute_to_the_metric(numpy_backend):
    """P is a running mean; here P and R are renewed at every second update."""
    case = next(case for case in KEPT if case.name == "relu-identity-keep")
    for batches in (3, 4):
        optimizer = GaussNewton(MinimumNorm(), metric=FeatureMetric(0.5, 0.7, every=2))
        D, _, J, eps, seen = taken(optimizer, case, numpy_backend, batches)
        truth = dense.jacobian(J.network, J.params, np.hstack(J.point.input))
        MJ = applied(dense_metric(seen[::2], 0.5, 0.7**2), truth.T)
        assert_close("D", dense.flat(D), MJ @ np.linalg.solve(truth @ MJ, dense.rows(eps)), 1e-8)


@pytest.mark.parametrize("case", KEPT[:3], ids=lambda case: case.name)
def test_a_large_floor_gives_the_euclidean_norm(case, backend):
    plain, *_ = taken(GaussNewton(MinimumNorm(0.1)), case, backend)
    far, *_ = taken(GaussNewton(MinimumNorm(0.1), metric=FeatureMetric(1e9)), case, backend)
    assert_close("D", far, plain, 1e-7)


@pytest.mark.parametrize(
    "solver",
    [MinimumNorm(), MinimumNorm(memory=2500), ConjugateGradients(tolerance=1e-12), BlockWise("last")],
    ids=repr,
)
def test_every_solver_is_exact_in_the_metric(solver, backend):
    """A step with momentum, in the metric, solves J D = eps; all solvers find the same step.

    One of them by tiles: a kernel of order 18 takes 2,592 bytes.
    """
    case = next(case for case in KEPT if case.name == "tanh-same-keep")
    optimizer = GaussNewton(solver, momentum=0.9, metric=FeatureMetric())
    D, done, J, eps, _ = taken(optimizer, case, backend, 3)
    assert_close("J D", apply(J, D), eps, 1e-8)
    assert done.solve.rho < 1e-8
    if not isinstance(solver, BlockWise):
        plain = GaussNewton(MinimumNorm(), momentum=0.9, metric=FeatureMetric())
        dense_D, *_ = taken(plain, case, backend, 3)
        assert_close("D", D, dense_D, 1e-7)


def test_rebuilt_features_are_refused(numpy_backend):
    case = next(case for case in NETWORKS if case.name == "tanh-same-rebuild")
    with pytest.raises(UsageError, match="set activations='keep'"):
        taken(GaussNewton(metric=FeatureMetric()), case, numpy_backend)


def test_features_that_are_not_finite_give_nan(numpy_backend):
    """The factorization raises no exception; the training loop reports that training diverged."""
    case = KEPT[0]
    net, params, x = case.build(numpy_backend, "float64")
    z, J = jacobian(net, params, x * np.nan)
    optimizer = GaussNewton(MinimumNorm(0.1), metric=FeatureMetric())
    done = update(
        optimizer, init_state(optimizer, net, params), params, Linearization(SquaredError(), z, z, J)
    )
    assert np.isnan(done.params[0].weight).all()


@pytest.mark.parametrize("case", [case for case in CONVOLUTIONAL if case.name in ("trained", "frozen")])
def test_the_rows_of_each_sample_are_turned(case, numpy_backend):
    """The kernel is the same whether the rows are pulled back before or after the features are turned."""
    net, params, x = case.build(numpy_backend, "float64")
    z, J = jacobian(net, params, x)
    J = equation(MinimumNorm(rows=1), J, z, (0, 0)).jacobian
    state = update_metric(FeatureMetric(floor=0.1), init_metric(net, params), J, 0)
    found = lower_kernel(in_metric(state, pulled_back(J)))
    assert_close("kernel", np.tril(found), np.tril(lower_kernel(in_metric(state, J))), 1e-12)
    assert not np.allclose(np.tril(found), np.tril(lower_kernel(J)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_give_a_metric_with_nan(bad, backend, dtype):
    """CuPy does not report a failed factorization; NaN in the step then reports the divergence."""
    P = np.eye(4)
    P[0, 0] = bad
    assert np.isnan(to_host(_root(backend.asarray(P, dtype), 1.0, 4))).any()


def test_a_floor_that_is_lost_in_rounding_gives_nan(backend, rng):
    """P has rank 40, so M is singular in single precision: its Cholesky factor would hold rounding errors."""
    A = np.maximum(rng.standard_normal((40, 200)), 0)
    P = backend.asarray(A.T @ A / 40, "float32")
    R = to_host(_root(P, 1e-2, 200)).astype(float)
    M = to_host(P).astype(float) * 200 / np.trace(to_host(P)) + 1e-2 * np.eye(200)
    np.testing.assert_allclose(R @ R.T @ M, np.eye(200), atol=1e-2)
    assert np.isnan(to_host(_root(P, 1e-12, 200))).all()
