"""Generic functions: one contract, one implementation a type, found by the first argument."""

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
    """A frozen dataclass, the kind of value that a generic function takes first."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class Generic(Protocol[P, R_co]):
    """A `functools.singledispatch` function that keeps the signature of its contract."""

    __name__: str
    __doc__: str | None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the implementation for the type of the first argument."""

    def register(self, cls: type) -> Callable[[F], F]:
        """Register the implementation for `cls`."""

    def dispatch(self, cls: type) -> Callable[..., R_co]:
        """Return the implementation that a first argument of type `cls` would get."""


def generic(contract: Callable[P, R]) -> Generic[P, R]:
    """Make `contract` a generic function whose own body never runs.

    The contract's signature and docstring are those of the generic function; a type without an
    implementation raises `UnsupportedMapError` with the names of both.
    """

    def unsupported(*args: Any, **kwargs: Any) -> NoReturn:
        kind = type(args[0]).__name__ if args else "nothing"
        raise UnsupportedMapError(f"{contract.__name__}({kind}): {kind} does not have this map")

    unsupported.__name__ = contract.__name__
    unsupported.__qualname__ = contract.__qualname__
    unsupported.__module__ = contract.__module__
    unsupported.__doc__ = contract.__doc__
    unsupported.__wrapped__ = contract  # type: ignore[attr-defined]  # for inspect.signature
    return cast("Generic[P, R]", singledispatch(unsupported))


def has_map(function: Generic[Any, Any], cls: type) -> bool:
    """Tell whether `cls` has an implementation of the generic `function`."""
    return function.dispatch(cls) is not function.dispatch(object)
