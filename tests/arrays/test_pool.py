"""Recycled memory: a block is used again once no view of its array is left, and never earlier."""

import gc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from revgn.arrays import empty
from revgn.arrays.pool import _POOL, _Pool

LIKE = np.zeros(1, dtype=np.float32)
SHAPE = (300, 100)


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_is_used_again():
    first = empty(SHAPE, LIKE)
    where = address(first)
    del first
    assert address(empty((100, 300), LIKE)) == where


def test_a_view_of_a_view_keeps_the_memory():
    first = empty(SHAPE, LIKE)
    where, view = address(first), first[10:].T[3:]
    del first
    gc.collect()
    second = empty(SHAPE, LIKE)
    second[...] = 1.0
    view[...] = 2.0
    assert address(second) != where
    assert (second == 1.0).all()


def test_kept_arrays_never_share_memory():
    arrays = [empty(SHAPE, LIKE) for _ in range(20)]
    for number, array in enumerate(arrays):
        array[...] = number
    del arrays[::2]
    arrays += [empty(SHAPE, LIKE) for _ in range(20)]
    for array in arrays[10:]:
        array[...] = -1.0
    assert [array[0, 0] for array in arrays[:10]] == list(range(1, 20, 2))
    assert all((array == array[0, 0]).all() for array in arrays)


def test_all_blocks_take_at_most_twice_the_peak_use():
    held = [empty((64 + i, 1000), LIKE) for i in range(30)]
    del held
    for i in range(200):
        empty((5000 + i, 100), LIKE)
    assert _POOL.idle == sum(block.size for blocks in _POOL.waiting.values() for block in blocks)
    assert _POOL.in_use + _POOL.idle <= 2 * _POOL.most_in_use
    assert _POOL.in_use == sum(lease.block.size for lease in _POOL.leases.values())


def test_the_bound_holds_when_a_new_size_is_needed():
    pool = _Pool()
    for size in (112, 96, 80, 300, 40):
        memory = pool.lease(size)
        assert pool.in_use + pool.idle <= 2 * pool.most_in_use
        del memory
        assert pool.in_use + pool.idle <= 2 * pool.most_in_use


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 90_000), st.sampled_from(["float32", "float64", "bool"]))))
def test_arrays_have_the_requested_size_and_dtype(shapes):
    for count, dtype in shapes:
        array = empty((count,), LIKE, np.dtype(dtype))
        assert (array.shape, array.dtype, array.flags.writeable) == ((count,), np.dtype(dtype), True)


def test_other_libraries_allocate_their_own_arrays(backend):
    like = backend.asarray([1.0])
    array = empty((3, 30_000), like)
    assert (array.shape, array.dtype, array.device) == ((3, 30_000), like.dtype, like.device)
