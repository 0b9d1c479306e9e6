"""Generic functions: one contract, and one implementation per type of the first argument."""

from collections.abc import Callable
from functools import singledispatch
from typing import Any, ClassVar, NoReturn, ParamSpec, Protocol, TypeVar, cast, runtime_checkable

from revgn.errors import UnsupportedMapError

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
F = TypeVar("F", bound=Callable[..., Any])


@runtime_checkable
class Struct(Protocol):
    """Frozen dataclass, as the first argument of a generic function must be."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class Generic(Protocol[P, R_co]):
    """A `functools.singledispatch` function with the signature of its contract."""

    __name__: str
    __doc__: str | None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the implementation for the type of the first argument."""

    def register(self, cls: type) -> Callable[[F], F]:
        """Register the implementation for `cls`."""

    def dispatch(self, cls: type) -> Callable[..., R_co]:
        """Return the implementation for a first argument of type `cls`."""


def generic(contract: Callable[P, R]) -> Generic[P, R]:
    """Turn `contract` into a generic function; its own body is never run.

    The generic function has the signature and docstring of the contract. For a type without an
    implementation, it raises `UnsupportedMapError` with the names of the function and the type.
    """

    def unsupported(*args: Any, **kwargs: Any) -> NoReturn:
        kind = type(args[0]).__name__ if args else "nothing"
        raise UnsupportedMapError(f"{contract.__name__}({kind}): not implemented for {kind}")

    unsupported.__name__ = contract.__name__
    unsupported.__qualname__ = contract.__qualname__
    unsupported.__module__ = contract.__module__
    unsupported.__doc__ = contract.__doc__
    unsupported.__wrapped__ = contract  # type: ignore[attr-defined]  # for inspect.signature
    return cast("Generic[P, R]", singledispatch(unsupported))


def has_map(function: Generic[Any, Any], cls: type) -> bool:
    """Return whether `cls` has an implementation of the generic `function`."""
    return function.dispatch(cls) is not function.dispatch(object)


def available(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
    """Return the result of `function`, or None if a type lacks a map that it needs."""
    try:
        return function(*args, **kwargs)
    except UnsupportedMapError:
        return None
