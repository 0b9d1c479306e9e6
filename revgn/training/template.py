"""Settings as a TOML file with a comment for each: what it means, its choices, its default."""

import textwrap
from typing import Any

from revgn.training.config import choices_of
from revgn.training.meanings import MEANINGS
from revgn.training.relevance import unused_settings
from revgn.training.settings import Config, config_dict, flat

_WIDTH = 100


def config_template(config: Config) -> str:
    """TOML text with every setting, of which `build_config` makes `config` again.

    A setting that is not given, or that nothing looks at with the others as they are, is a comment.
    """
    unused = {*unused_settings(config)}
    defaults = flat(config_dict(Config()))
    lines: list[str] = []
    section = ""
    for path, value in flat(config_dict(config)).items():
        table, _, name = path.rpartition(".")
        if table != section:
            section = table
            lines += ["", f"[{section}]"]
        lines += ["", *_comment(path, defaults[path])]
        is_commented = value is None or path in unused
        lines.append(f"# {name} = {_toml(value)}" if is_commented else f"{name} = {_toml(value)}")
    return "\n".join(lines).lstrip("\n") + "\n"


def _comment(path: str, default: Any) -> list[str]:
    choices = choices_of(path)
    text = MEANINGS[path].rstrip(".")
    text += f"; one of {', '.join(choices)}" if choices else ""
    text += "." if default is None else f" (default {_toml(default)})."
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _toml(value: Any) -> str:
    """Value as TOML writes it; "..." stands for one that is not given."""
    import tomli_w

    return (
        "..." if value is None else tomli_w.dumps({"x": value}).removeprefix("x = ").replace("\n", "").strip()
    )
