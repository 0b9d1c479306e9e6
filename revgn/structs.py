"""Structs as settings: each field states its default, its meaning and its bounds in one place.

    @struct
    class Adam:
        lr: float = setting("Learning rate.", default=1e-3, gt=0)

The struct is a frozen dataclass that checks its fields when an instance is created. Command-line options,
configuration files, messages and the reference are generated from the same fields.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple, TypeVar, dataclass_transform

import msgspec
import numpy as np

from revgn._dispatch import Struct
from revgn.errors import UsageError

T = TypeVar("T")


class FieldError(UsageError):
    """Error for an invalid value; `field` is the name of the field, `reason` the message after it."""

    def __init__(self, owner: str, field: str, reason: str) -> None:
        super().__init__(f"{owner}: {field}: {reason}")
        self.field, self.reason = field, reason


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bounds of a number; `infinite` also allows infinity."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    infinite: bool = False

    def hold(self, value: float) -> bool:
        """Return whether a number is within the bounds."""
        return (
            (math.isfinite(value) or (self.infinite and value == math.inf))
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )

    def __str__(self) -> str:
        low, high = (self.ge if self.gt is None else self.gt), (self.le if self.lt is None else self.lt)
        if low is not None and high is not None:
            brackets = "[" if self.gt is None else "(", "]" if self.lt is None else ")"
            return f"{brackets[0]}{low:g}, {high:g}{brackets[1]}"
        if low is not None:
            return f"{'>=' if self.gt is None else '>'} {low:g}"
        return "finite" if high is None else f"{'<=' if self.lt is None else '<'} {high:g}"


class Setting(NamedTuple):
    """Description of a field of a struct; see `setting`."""

    name: str
    type: Any
    default: Any
    meaning: str
    bounds: Bounds
    family: str | None
    resumable: bool
    size: bool
    chosen: bool
    replaces: str | None

    @property
    def is_part(self) -> bool:
        """Whether the field holds another struct."""
        return self.family is not None or is_struct(self.type)


def setting(
    meaning: str,
    *,
    default: Any,
    family: str | None = None,
    resumable: bool = False,
    size: bool = False,
    chosen: bool = False,
    replaces: str | None = None,
    **bounds: Any,
) -> Any:
    """Create a dataclass field that is a setting.

    Parameters
    ----------
    meaning : str
        One line, used as text of the option, in the configuration file and in the reference.
    family : str or None
        Name of the registry that lists the structs the field can hold.
    resumable : bool
        Whether a resumed run may change the value.
    size : bool
        Whether the value is a number of bytes, which may be written as 4GB.
    chosen : bool
        Whether the value is chosen from the data if neither the value nor a preset is given.
    replaces : str or None
        Name of a field beside it that would void the value: where the value is given, settings of weaker
        layers do not set that field.
    **bounds
        Fields of `Bounds`.
    """
    own = {"meaning": meaning, "family": family, "resumable": resumable, "size": size, "chosen": chosen}
    further = {"replaces": replaces, "bounds": Bounds(**bounds)}
    return dataclasses.field(default=default, metadata=own | further)


@dataclass_transform(frozen_default=True, field_specifiers=(setting, dataclasses.field))
def struct(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass with slots that checks its fields, then calls its method `check`, if any.

    Raises
    ------
    FieldError
        If an instance is created with a value of the wrong type or out of bounds.
    """
    check: Callable[[T], None] | None = vars(cls).get("check")

    def check_fields(self: T) -> None:
        for of in settings_of(type(self)):
            if of.is_part:
                _check_part(self, of)
            else:
                object.__setattr__(self, of.name, _checked(self, of))
        if check is not None:
            check(self)

    cls.__post_init__ = check_fields  # type: ignore[attr-defined]
    made = dataclasses.dataclass(frozen=True, slots=True)(cls)
    if made.__doc__:
        meanings = {of.name: of.metadata.get("meaning", "") for of in dataclasses.fields(made)}  # type: ignore[arg-type]
        lines = (f"    {name} : {meaning}".rstrip(" :") for name, meaning in meanings.items())
        made.__doc__ = "\n".join(
            [made.__doc__.rstrip(), "", "    Parameters", "    ----------", *lines, "    "]
        )
    return made


def settings_of(cls: Any) -> tuple[Setting, ...]:
    """Return the settings of a struct's class in order; an empty tuple for any other class."""
    return _settings_of(cls)


@cache
def _settings_of(cls: Any) -> tuple[Setting, ...]:
    if not dataclasses.is_dataclass(cls):
        return ()
    types = typing.get_type_hints(cls)
    return tuple(
        Setting(field.name, types[field.name], field.default, **field.metadata)
        for field in dataclasses.fields(cls)
        if "meaning" in field.metadata
    )


def is_struct(kind: Any) -> bool:
    """Return whether a type is a dataclass, whose instances a setting may hold."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def choices_of(kind: Any) -> tuple[str, ...]:
    """Return the strings among the literals of a type."""
    if typing.get_origin(kind) is Literal:
        return tuple(choice for choice in typing.get_args(kind) if isinstance(choice, str))
    return tuple(choice for part in typing.get_args(kind) for choice in choices_of(part))


def described(kind: Any, bounds: Bounds) -> str:
    """Describe the values of a type in words, such as "a number >= 0 or none"."""
    members = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    words = [choice if any(map(str.isalnum, choice)) else f'"{choice}"' for choice in choices_of(kind)]
    numbers = [_NUMBERS[member] for member in members if member in _NUMBERS]
    limits = "" if str(bounds) == "finite" else f" {'in ' if str(bounds)[0] in '[(' else ''}{bounds}"
    words += [f"{number}{limits}" for number in numbers]
    words += ["text"] if str in members else []
    words += ["true or false"] if bool in members else []
    words += [member.__name__ for member in members if is_struct(member)]
    lists = [typing.get_args(member)[0] for member in members if typing.get_origin(member) is tuple]
    words += [f"a list of {described(of, Bounds()).removeprefix('a ')}s{limits}" for of in lists]
    words += ["none"] if type(None) in members else []
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1] if words else "text")))


_NUMBERS = {int: "a whole number", float: "a number"}


def _check_part(owner: object, of: Setting) -> None:
    """Raise `FieldError` unless a field holds a struct of its type; a protocol type allows any struct."""
    value, members = getattr(owner, of.name), typing.get_args(of.type) or (of.type,)
    kinds = tuple(
        Struct if member is Any or getattr(member, "_is_protocol", False) else member for member in members
    )
    is_none = value is None and Any in members
    if isinstance(value, type) or not (isinstance(value, kinds) or is_none):
        expected = "a struct" if Struct in kinds else described(of.type, of.bounds)
        raise FieldError(type(owner).__name__, of.name, f"{value!r} cannot be used; expected {expected}")


def _checked(owner: object, of: Setting) -> Any:
    """Return the value of a field, converted to its type: 1 to 1.0, a list or a single number to a tuple."""
    value = getattr(owner, of.name)
    value = value.item() if isinstance(value, np.generic) else value
    is_alone = typing.get_origin(of.type) is tuple and isinstance(value, int | float)
    try:
        converted = msgspec.convert((value,) if is_alone else value, of.type)
        value = value if is_alone else converted
        numbers = converted if isinstance(converted, tuple) else (converted,)
        is_good = all(of.bounds.hold(x) for x in numbers if isinstance(x, int | float))
    except (msgspec.ValidationError, OverflowError):  # an integer may be larger than any float
        is_good = False
    if is_good:
        return converted
    expected = described(of.type, of.bounds)
    if isinstance(value, str) and (near := difflib.get_close_matches(value, choices_of(of.type), 1)):
        expected += f"; did you mean {near[0]}?"
    raise FieldError(type(owner).__name__, of.name, f"{value!r:.200} cannot be used; expected {expected}")
