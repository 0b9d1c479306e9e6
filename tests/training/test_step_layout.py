"""A training step returns a state in the layout of a checkpoint, whatever layout the optimizer returns."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from revgn import trees
from revgn.optimizers import Update, init_state, update
from revgn.training import initial_state, train


class Columnwise(NamedTuple):
    """An optimizer whose parameters and state are stored column by column."""


@init_state.register(Columnwise)
def init_columnwise(optimizer, network, params):
    return params


@update.register(Columnwise)
def update_columnwise(optimizer, state, params, at, scale=1.0):
    moved = trees.map_leaves(np.asfortranarray, params)
    return Update(moved, moved, trees.norm(params), None, 1.0, 1.0)


def test_a_state_is_row_major_whatever_the_optimizer(make_problem):
    problem = replace(make_problem({"training.average": "tail"}), optimizer=Columnwise())
    for event in train(problem, initial_state(problem)):
        arrays = [leaf for leaf in trees.leaves(event.state) if hasattr(leaf, "flags")]
        assert all(array.flags.c_contiguous for array in arrays)
