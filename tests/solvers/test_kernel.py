"""The tangent kernel in closed form equals J J^T."""

import weakref

import numpy as np
import pytest
import scipy.linalg
from cases import DEFICIENT, NETWORKS, NetworkCase, network_case
from libraries import make_library
from reference import dense

from revgn.arrays import HOST, Backend, limits_of, to_host, zeros
from revgn.maps import KernelPart
from revgn.networks import Architecture, from_halves
from revgn.solvers import apply, apply_adjoint, kernel, tangent_kernel
from revgn.solvers.kernel import Held, add_parts, sample_parts, write_terms
from revgn.solvers.kernel_cost import HELD
from revgn.testing import assert_close, tolerance

CASES = pytest.mark.parametrize("case", [*NETWORKS, *DEFICIENT], ids=lambda case: case.name)


@CASES
def test_kernel_matches_the_dense_reference(case, numpy_backend):
    J, _ = case.jacobian(numpy_backend)
    x = from_halves(J.network, J.point.input)
    explicit = dense.jacobian(J.network, J.params, x)
    assert_close("Theta = J J^T", tangent_kernel(J), explicit @ explicit.T, 1e-13)


@CASES
def test_kernel_is_symmetric_and_positive_semidefinite(case, numpy_backend, dtype):
    J, _ = case.jacobian(numpy_backend, dtype)
    Theta = tangent_kernel(J)
    assert_close("symmetric", Theta, Theta.T, 0.0)
    w = np.linalg.eigvalsh(to_host(Theta).astype(float))
    assert w[0] >= -tolerance(Theta.dtype, "map") * w[-1]


@pytest.mark.parametrize("name", ["relu-identity-keep", "gelu-identity-rebuild", "odd-d", "n=1"])
def test_kernel_product_equals_jvp_of_vjp(name, backend, dtype):
    J, eps = network_case(name).jacobian(backend, dtype)
    Theta = to_host(tangent_kernel(J)).astype(float)
    by_maps = to_host(apply(J, apply_adjoint(J, eps)))
    n, c = eps.shape
    product = (Theta @ dense.rows(to_host(eps))).reshape(n, c)
    assert_close("Theta v", product, by_maps.astype(float), tolerance(eps.dtype, "chain"))


@pytest.mark.parametrize(("tile", "held", "fuses"), [(1, 3, False), (4, 1, True), (7, 3, True)])
@CASES
def test_kernel_does_not_depend_on_its_pieces(case, tile, held, fuses, numpy_backend, monkeypatch):
    J, _ = case.jacobian(numpy_backend)
    whole = tangent_kernel(J)
    monkeypatch.setattr(
        kernel, "limits_of", lambda backend: HOST._replace(rows=tile, columns=tile, fuses=fuses)
    )
    monkeypatch.setattr(kernel, "HELD", held)
    assert_close("Theta", tangent_kernel(J), whole, 1e-14)


def test_a_gpu_forms_the_kernel_in_one_piece_per_output(numpy_backend, monkeypatch):
    """At order 10,240 with 10 outputs there are 10 sums, each over all parts that are held."""
    shape = Architecture(2, 2, "identity")
    J, _ = NetworkCase("large", shape, 10, 10, 1024).jacobian(numpy_backend, "float32")
    sums = []

    def counted(out, terms, *, is_first):
        sums.append((out.shape, len(list(terms))))

    monkeypatch.setattr(kernel, "limits_of", lambda backend: limits_of(Backend("cupy", None, None)))
    monkeypatch.setattr(kernel, "add_gram_products", counted)
    kernel.lower_kernel(J)
    assert sums == [((1024, outputs, 1024), 4) for outputs in range(1, 11)]


def test_number_of_launches_of_a_kernel(stand_in):
    """For each output, one product for each part that differs between samples, and one sum."""
    J, _ = NetworkCase("paper", Architecture(2, 16), 32, 10, 48).jacobian(make_library("cupy"), "float32")
    with stand_in.counting() as counts:
        kernel.lower_kernel(J)
    at = {key.partition(" at ")[0]: number for key, number in counts.launches.items() if "gram_prod" in key}
    assert at == {"revgn_add_gram_products": 10}
    assert sum(counts.launches.values()) <= 60
    assert not counts.waits
    assert not counts.uploads


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("name", ["relu-identity-keep", "gelu-identity-rebuild", "one-block"])
def test_kernel_with_combined_outputs(name, own, backend, dtype):
    """The kernel of R^T dz/dW is R^T Theta R, for combinations R that samples share and for individual R."""
    J, eps = network_case(name).jacobian(backend, dtype)
    (n, c), rng = eps.shape, np.random.default_rng(5)
    R = rng.standard_normal((n, c, c + 1) if own else (c, c + 1))
    each = R if own else np.broadcast_to(R, (n, *R.shape))
    explicit = scipy.linalg.block_diag(*each)
    whole = to_host(tangent_kernel(J)).astype(float)
    mixed = J._replace(outputs=backend.asarray(R, dtype))
    found = to_host(tangent_kernel(mixed)).astype(float)
    limit = tolerance(eps.dtype, "chain")
    assert_close("R^T Theta R", found, explicit.T @ whole @ explicit, limit)
    v = backend.asarray(rng.standard_normal((n, c + 1)), dtype)
    by_maps = dense.rows(to_host(apply(mixed, apply_adjoint(mixed, v))))
    assert_close("Theta v", found @ dense.rows(to_host(v)), by_maps, limit)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("numbers", [None, 1, 60])
def test_rows_with_several_positions_are_summed_or_paired(shared, numbers, backend, dtype, rng):
    """Both forms of a part are sum_pq <a_sp, a_tq> <b_osp, b_otq>, and give the same diagonal."""
    n, c, P, m, k = 3, 2, 2, 9, 8
    A, b = rng.standard_normal((n, P, m)), rng.standard_normal((c, 1 if shared else n, P, k))
    G = np.einsum("spm,ospk->osmk", A, np.broadcast_to(b, (c, n, P, k)))
    expected = np.einsum("osmk,ptmk->ospt", G, G)
    part = KernelPart(
        backend.asarray(A.reshape(n * P, m), dtype), backend.asarray(b.reshape(c, -1, k), dtype)
    )
    paired, summed = (list(sample_parts(part, n, numbers, summed=how, of_all=1)) for how in (False, True))
    assert [each.positions for each in paired] == [P]
    assert {each.positions for each in summed} == {1}
    limit = tolerance(part.features.dtype, "map")
    for parts in (paired, summed):
        Theta = zeros((c, n, c, n), part.features)
        held = [term for each in parts for term in each.products()]
        add_parts(Theta, held, is_first=True, lower=False)
        assert_close("kernel", Theta, backend.asarray(expected, dtype), limit)
        diagonal = sum(float(each.diagonal()) for each in parts)
        assert diagonal == pytest.approx(np.einsum("osos", expected), rel=1e-5)


def test_few_terms_are_in_memory_at_a_time(numpy_backend, rng):
    """At most HELD + 1, as the plan of tiles counts: an old group is gone before the next is formed."""
    seen, most = [], 0

    def terms(count):
        nonlocal most
        for _ in range(count):
            gram = rng.standard_normal((3, 3))
            seen.append(weakref.ref(gram))
            most = max(most, sum(each() is not None for each in seen))
            term = Held(gram, rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 3, 4)))
            del gram
            yield term
            del term

    Theta = np.zeros((2, 3, 2, 3))
    write_terms(Theta, terms(4 * HELD), lower=False)
    assert most == HELD


def test_the_form_with_fewer_operations_is_taken(numpy_backend, rng):
    """Many positions and few weights: rows of each sample. Few positions and many weights: pairs."""
    many = KernelPart(rng.standard_normal((4 * 64, 9)), rng.standard_normal((1, 4 * 64, 6)))
    few = KernelPart(rng.standard_normal((32 * 2, 90)), rng.standard_normal((1, 32 * 2, 80)))
    assert [each.positions for each in sample_parts(many, 4)] == [1]
    assert [each.positions for each in sample_parts(few, 32)] == [2]
