"""Generic functions: one contract, with implementations selected by the type of the first argument."""

import inspect

import pytest

from revgn._dispatch import generic, has_map
from revgn.errors import RevgnError, UnsupportedMapError


@generic
def area(shape: object, scale: float = 1.0) -> float:
    """Area of a shape."""


class Square:
    side = 2.0


class Tilted(Square):
    pass


@area.register(Square)
def area_square(shape: Square, scale: float = 1.0) -> float:
    return scale * shape.side**2


def test_the_implementation_is_selected_by_type():
    assert area(Square()) == 4.0
    assert area(Tilted(), scale=0.5) == 2.0
    assert area.dispatch(Square) is area_square


def test_a_type_without_an_implementation_is_named():
    with pytest.raises(UnsupportedMapError, match=r"area\(int\): not implemented for int") as raised:
        area(3)
    assert isinstance(raised.value, (RevgnError, NotImplementedError))


def test_has_map():
    assert has_map(area, Square)
    assert has_map(area, Tilted)
    assert not has_map(area, int)


def test_the_contract_is_kept():
    assert area.__name__ == "area"
    assert area.__doc__ == "Area of a shape."
    assert area.__module__ == __name__
    assert list(inspect.signature(area).parameters) == ["shape", "scale"]


def test_an_implementation_stays_a_plain_function():
    assert area_square(Square()) == 4.0
    assert area_square.__name__ == "area_square"
