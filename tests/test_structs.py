"""Structs as settings: accepted values of a field, their conversion, and errors for other values."""

import math
import pickle
from dataclasses import FrozenInstanceError, is_dataclass, replace
from typing import Any, Literal

import numpy as np
import pytest

import revgn.optimizers
import revgn.settings.config
import revgn.solvers
from revgn.errors import UsageError
from revgn.networks import Architecture
from revgn.structs import Bounds, FieldError, choices_of, described, is_struct, setting, settings_of, struct


@struct
class Part:
    """A part of another struct."""

    rate: float = setting("Rate of the part.", default=0.5, gt=0, le=1)


@struct
class Whole:
    """One field of each kind."""

    count: int = setting("A count.", default=3, ge=1, resumable=True)
    limit: float | None = setting("A limit.", default=None, ge=1, infinite=True)
    sizes: tuple[float, ...] = setting("Sizes.", default=(1.0,))
    shade: Literal["light", "dark"] | tuple[float, ...] = setting("A shade, or its numbers.", default="dark")
    is_on: bool = setting("Whether it is on.", default=False)
    size: int | Literal["full"] | None = setting("A size in bytes.", default="full", gt=0, size=True)
    part: Part | None = setting("A part.", default=Part(), family="part")
    other: Any = setting("Any struct, also a user's own.", default=None, family="other")

    def check(self):
        """Raise `UsageError` if the fields do not fit together."""
        if self.is_on and self.limit is None:
            raise UsageError("Whole: is_on needs a limit")


@struct
class Mixed:
    """One field that is a setting, and one that is not."""

    rate: float = setting("Rate.", default=0.5)
    name: str = ""


# --- values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "given", "stored"),
    [
        ("limit", 2, 2.0),
        ("limit", math.inf, math.inf),
        ("limit", np.float32(1.5), 1.5),
        ("count", np.int64(7), 7),
        ("is_on", np.bool_(False), False),
        ("shade", [1, 2.5], (1.0, 2.5)),
        ("shade", [], ()),
        ("sizes", 3, (3,)),
        ("size", None, None),
    ],
)
def test_a_value_is_stored_in_the_type_of_its_field(field, given, stored):
    """An integer becomes a float, a list or a number a tuple, and a NumPy scalar a Python number."""
    found = getattr(Whole(**{field: given}), field)
    assert found == stored
    assert type(found) is type(stored)
    if isinstance(stored, tuple):
        assert [type(x) for x in found] == [float] * len(found)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("count", 0, "a whole number >= 1"),
        ("count", 1.5, "a whole number >= 1"),
        ("count", 2.0, "a whole number >= 1"),
        ("count", True, "a whole number >= 1"),
        ("count", "3", "a whole number >= 1"),
        ("limit", 0.5, "a number >= 1 or none"),
        ("limit", math.nan, "a number >= 1 or none"),
        ("limit", -math.inf, "a number >= 1 or none"),
        ("shade", "blue", "light, dark or a list of numbers"),
        ("shade", (1.0, math.inf), "light, dark or a list of numbers"),
        ("is_on", 1, "true or false"),
        ("is_on", None, "true or false"),
        ("size", 0, "full, a whole number > 0 or none"),
        ("part", 0.5, "Part or none"),
        ("part", Part, "Part or none"),
        ("other", "sgd", "a struct"),
        ("other", Part, "a struct"),
    ],
)
def test_an_invalid_value_raises(field, value, expected):
    with pytest.raises(FieldError) as raised:
        Whole(**{field: value})
    error = raised.value
    assert isinstance(error, UsageError)
    assert error.field == field
    assert error.reason == f"{value!r} cannot be used; expected {expected}"
    assert str(error) == f"Whole: {field}: {error.reason}"


def test_the_error_suggests_the_nearest_choice():
    with pytest.raises(
        FieldError, match=r"^Whole: shade: 'lihgt' cannot .* or a list of numbers; did you mean light\?"
    ):
        Whole(shade="lihgt")


def test_the_check_of_a_struct_runs_after_its_fields():
    with pytest.raises(UsageError, match="is_on needs a limit"):
        Whole(is_on=True)
    with pytest.raises(FieldError):
        Whole(is_on=True, count=0)
    assert Whole(is_on=True, limit=1).limit == 1.0
    with pytest.raises(UsageError, match="is_on needs a limit"):
        replace(Whole(is_on=True, limit=1), limit=None)


def test_a_struct_is_a_value():
    """Structs are compared by value, hashable, immutable, and can be pickled."""
    whole = Whole(2, 3, (0.5, 0.5), part=None)
    assert whole == Whole(2, 3.0, [0.5, 0.5], part=None) != Whole()
    assert hash(whole) == hash(Whole(2, 3.0, [0.5, 0.5], part=None))
    assert pickle.loads(pickle.dumps(whole)) == whole
    with pytest.raises(FrozenInstanceError):
        whole.count = 3
    assert not hasattr(whole, "__dict__")


# --- bounds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "within", "beyond", "text"),
    [
        (Bounds(), [-1e300, 0, 1e300], [math.inf, -math.inf, math.nan], "finite"),
        (Bounds(ge=0), [0, 1e300], [-1e-300, math.inf, math.nan], ">= 0"),
        (Bounds(gt=0), [1e-300], [0, -1], "> 0"),
        (Bounds(le=2), [2, -5], [2.1, -math.inf], "<= 2"),
        (Bounds(lt=2), [1.9, -5], [2, 3], "< 2"),
        (Bounds(ge=0, lt=1), [0, 0.999], [1, -0.1], "[0, 1)"),
        (Bounds(gt=0, le=1), [1, 1e-9], [0, 1.1], "(0, 1]"),
        (Bounds(ge=1, infinite=True), [1, math.inf], [0.9, -math.inf, math.nan], ">= 1"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_bounds(bounds, within, beyond, text):
    assert all(bounds.hold(x) for x in within)
    assert not any(bounds.hold(x) for x in beyond)
    assert str(bounds) == text


# --- fields as data -------------------------------------------------------------------------------------


def test_fields_are_data():
    fields = {of.name: of for of in settings_of(Whole)}
    assert list(fields) == ["count", "limit", "sizes", "shade", "is_on", "size", "part", "other"]
    count, part, size = fields["count"], fields["part"], fields["size"]
    assert (count.type, count.default, count.meaning, count.bounds) == (int, 3, "A count.", Bounds(ge=1))
    assert (count.resumable, size.resumable, count.size, size.size) == (True, False, False, True)
    assert (part.family, count.family, part.default) == ("part", None, Part())
    assert choices_of(fields["shade"].type) == ("light", "dark")
    assert choices_of(int) == ()
    assert described(str, Bounds()) == "text"
    assert described(tuple[int, ...], Bounds(ge=1)) == "a list of whole numbers >= 1"
    assert described(Literal[".", ","] | None, Bounds()) == '".", "," or none'
    assert [of.name for of in settings_of(Mixed)] == ["rate"]
    assert settings_of(float) == ()
    assert (is_struct(Part), is_struct(Part()), is_struct(float)) == (True, False, False)


def test_the_docstring_lists_the_fields():
    doc = Whole.__doc__
    assert doc.startswith("One field of each kind.\n\n    Parameters\n    ----------\n    count : A count.\n")
    assert doc.index("limit : A limit.") < doc.index("part : A part.")


STRUCTS = {
    each.__name__: each
    for module in (revgn.optimizers, revgn.solvers, revgn.settings.config)
    for each in [*vars(module).values(), Architecture]
    if is_dataclass(each) and hasattr(each, "__post_init__")
}


@pytest.mark.parametrize("name", STRUCTS)
def test_defaults_are_allowed_and_meanings_are_sentences(name):
    """An invalid default raises on creation, unless an error about another field is raised first."""
    of_this = settings_of(STRUCTS[name])
    for of in of_this:
        assert of.meaning.endswith("."), of.name
        assert of.meaning[0].isupper() or of.meaning.split()[0] in ("c,", "nu"), of.name
        if isinstance(of.default, float | int) and not isinstance(of.default, bool):
            assert of.bounds.hold(of.default), of.name
        if of.bounds != Bounds():
            with pytest.raises(FieldError, match=f"{name}: {of.name}: nan cannot be used"):
                STRUCTS[name](**{of.name: math.nan})
