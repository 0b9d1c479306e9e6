"""Paths as options."""

from typing import Any

import click


class OutputPath(click.Path):
    """Path of a file or folder to be written; an empty one, which would be the current folder, is refused."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the path; "" is an error."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)
