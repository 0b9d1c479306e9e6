"""The configuration of a run: a tree of structs, built from TOML files, options and presets."""

from revgn.settings.build import build_config, fields_at, filled_settings, merge_settings
from revgn.settings.config import Config, Exponential, Own, Tail, mapped, parts_of
from revgn.settings.options import (
    canonical,
    named_settings,
    names_within,
    path_of,
    settings_by_name,
    value_of,
)
from revgn.settings.presets import PRESETS
from revgn.settings.registry import FAMILIES, kind_of, register
from revgn.settings.renamed import renamed
from revgn.settings.text import (
    changed_settings,
    config_dict,
    config_template,
    config_toml,
    flat,
    nested,
    parse_assignment,
    parse_size,
    parse_toml,
    parse_value,
    without_none,
    words_of,
)

__all__ = [
    "FAMILIES",
    "PRESETS",
    "Config",
    "Exponential",
    "Own",
    "Tail",
    "build_config",
    "canonical",
    "changed_settings",
    "config_dict",
    "config_template",
    "config_toml",
    "fields_at",
    "filled_settings",
    "flat",
    "kind_of",
    "mapped",
    "merge_settings",
    "named_settings",
    "names_within",
    "nested",
    "parse_assignment",
    "parse_size",
    "parse_toml",
    "parse_value",
    "parts_of",
    "path_of",
    "register",
    "renamed",
    "settings_by_name",
    "value_of",
    "without_none",
    "words_of",
]
