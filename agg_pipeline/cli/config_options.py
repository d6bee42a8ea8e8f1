"""Options generated from a configuration, and how it is resolved: preset or recipe < TOML file < command line.

A field of a configuration says what it means, which values it may have and what its option is called
(``schemas.fields``), so a new field is written there and nowhere else:

1. ``config_options`` makes click options from the fields, and ``configured`` hands those that were given to the command
   as one dict, ``settings``.
2. ``resolve`` or ``resolve_recipe`` puts them over the file and the preset, and gives the configuration.

Libraries for this (tyro, cyclopts, simple-parsing, pydantic-settings) replace click or the dataclasses, and have
neither a default per preset nor one option for two fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import wraps
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import click

from agg_pipeline.cli.option_groups import Command, Decorator, Option, option
from agg_pipeline.cli.options import Choice, finite
from agg_pipeline.cli.places import Place, expanded
from agg_pipeline.storage.local_file import read_file
from agg_pipeline.storage.text_files import toml_of
from schemas import limits
from schemas.config import ProposalsConfig
from schemas.errors import UnusableFileError, UserError
from schemas.fields import INFINITY, LARGEST, Key, keys_of
from schemas.presets import PRESETS
from schemas.resolve import override, validated, with_options
from schemas.words import possible, quoted

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")

RECIPES = files("agg_pipeline") / "recipes"
"""Folders of TOML files, one for each command."""


class ConfigOption(Option):
    """An option made from a configuration. It is None if it is not given; the preset or recipe then decides."""


def config_options(configs: Mapping[str, Any], *names: str) -> list[Decorator]:
    """Options for keys of a configuration. Keys whose options have the same name share one option.

    Args:
        configs: the configuration by preset or recipe; the help shows their defaults.
        names: dotted keys, and tables, of which all keys that have an option are taken.
    """
    tables = tuple(f"{name}." for name in names)
    found: dict[str, list[Key]] = {}  # by the name of their option
    for key in keys_of(next(iter(configs.values()))):
        if key.option and (key.name in names or key.name.startswith(tables)):
            found.setdefault(key.option, []).append(key)
    return [_option(name, keys, configs) for name, keys in found.items()]


def preset_option(presets: Mapping[str, Any]) -> Decorator:
    """The option that chooses the preset."""
    return option(
        "--preset",
        type=Choice(sorted(presets)),
        show_default="that of --config, or paper",
        help="Preset that the configuration starts from; --config and other options override its values.",
    )


def recipe_option(command: str, default: str) -> Decorator:
    """The option that chooses a command's recipe."""
    return option(
        "--recipe",
        type=Place(),
        metavar="RECIPE",
        default=default,
        help=f"Recipe that the configuration starts from: {', '.join(recipe_names(command))}, or a TOML file. Other "
        "options override its values.",
    )


def _option(name: str, keys: Sequence[Key], configs: Mapping[str, Any]) -> Decorator:
    """The option of a key, or of several keys of one type that are set together."""
    both = " The option sets both." if len(keys) > 1 else ""
    return option(
        f"--{name}/--no-{name}" if isinstance(keys[0].value, bool) else f"--{name}",
        name.replace("-", "_"),
        cls=ConfigOption,
        default=None,
        show_default=_default(name, keys, configs),
        help=" ".join(key.setting.help for key in keys) + both,
        **_type(keys[0]),
    )


def _default(name: str, keys: Sequence[Key], configs: Mapping[str, Any]) -> str:
    """The default of an option in words; for object_target and part_target: "0.9 (object); 0.85 (part)"."""
    texts = [default_text(key, configs) for key in keys]
    if len(set(texts)) == 1:
        return texts[0]
    owners = (key.name.rpartition(".")[2].removesuffix(f"_{name}") for key in keys)
    return "; ".join(f"{text} ({owner})" for owner, text in zip(owners, texts, strict=True))


def _type(key: Key) -> dict[str, Any]:
    """Attributes of an option: its type, checks, and the name of its values in the help."""
    setting = key.setting
    if isinstance(key.value, bool):
        return {}
    if get_origin(key.hint) is Literal:
        return {"type": Choice(setting.words or get_args(key.hint))}
    if isinstance(key.value, str):
        return {"metavar": (setting.unit or "text").upper()}
    high = None if setting.high in (INFINITY, LARGEST) else setting.high
    if isinstance(key.value, int):
        high = None if high is None else int(high)
        return {"type": click.IntRange(int(setting.low), high), "metavar": (setting.unit or "number").upper()}
    metavar = (setting.unit or "number").upper()
    return {"type": click.FloatRange(setting.low, high), "metavar": metavar, "callback": finite}


def default_text(key: Key, configs: Mapping[str, Any], toml: bool = False) -> str:
    """The default of a key in words: one value or, where presets or recipes differ, each value with their names.

    Args:
        key: the key.
        configs: the configuration by preset or recipe.
        toml: whether values are written as in TOML, not as on the command line.
    """
    names: dict[str, list[str]] = {}
    for name, config in configs.items():
        value = next(each.value for each in keys_of(config) if each.name == key.name)
        names.setdefault(_shown(key, value, toml), []).append(name)
    if len(names) == 1:
        return next(iter(names))
    return "; ".join(f"{text} for {' and '.join(own)}" for text, own in names.items())


def _shown(key: Key, value: Any, toml: bool) -> str:
    """A value of a key, as in TOML or as on the command line."""
    if isinstance(value, bool):
        return str(value).lower() if toml else ("yes" if value else "no")
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if key.setting.words and not toml:
        return key.setting.words[get_args(key.hint).index(value)]
    return f"{value:g}" if isinstance(value, float) else str(value)


def configured(command: Command) -> Command:
    """A decorator that hands the options of the configuration to a command as one argument, ``settings``.

    It is a dict of the values that were given, by the name of the option.
    """

    @wraps(command)
    def called(**values: Any) -> None:
        settings = {}
        for each in click.get_current_context().command.params:
            if isinstance(each, ConfigOption):
                value = values.pop(str(each.name))
                if value is not None:
                    settings[str(each.name).replace("_", "-")] = value
        command(**values, settings=settings)

    return called


def resolve(
    presets: Mapping[str, Config],
    preset: str | None,
    path: Path | None,
    settings: Mapping[str, Any],
    changes: Mapping[str, Any] | None = None,
) -> Config:
    """Make a configuration from preset, TOML file and command line; the later one wins.

    Args:
        presets: the configuration by the name of the preset.
        preset: name of the preset; None for the one that the file names, or "paper".
        path: TOML file; None for none.
        settings: values by the name of their option.
        changes: what other options of the command line change, nested as in TOML.

    Raises:
        UserError: the preset, a key or a value is not possible.
    """
    written = {} if path is None else read_toml(path)
    name = preset or written.get("preset", "paper")
    if name not in list(presets):
        raise UserError(f"unknown preset {quoted(name)}; {possible(name, sorted(presets))}")
    written.pop("preset", None)
    config = with_options(override(presets[name], written), settings)
    return validated(override(config, changes or {}))


def proposals_config(preset: str | None, path: Path | None, settings: Mapping[str, Any]) -> ProposalsConfig:
    """The configuration of proposals, of which the command sets the source.

    Args:
        preset: name of the preset; None for the one that the file names, or "paper".
        path: TOML file; None for none.
        settings: values by the name of their option.

    Raises:
        UserError: the preset, a key or a value is not possible, or the file sets the source.
    """
    if path is not None and "source" in read_toml(path):
        raise UserError(
            f"{path} sets the key source; remove it, because agg proposals run and annotate set it themselves"
        )
    return resolve(PRESETS, preset, path, settings)


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file; UserError if it is missing, broken or too large."""
    where = f"configuration file {path}"
    try:
        content = read_file(path, limits.CONFIG_BYTES)
    except FileNotFoundError:
        raise UserError(f"{where} does not exist") from None
    except UnusableFileError as error:
        raise UserError(f"{where} {error.what}") from error
    return toml_of(content, where)


def recipe_path(command: str, recipe: str) -> Path:
    """The TOML file of a command's recipe by its name, or the file itself; UserError if it is neither."""
    known = recipe_names(command)
    path = Path(str(RECIPES / command / f"{recipe}.toml")) if recipe in known else Path(expanded(recipe))
    if path.suffix != ".toml":
        raise UserError(f"unknown recipe {recipe!r}; {possible(recipe, known)}, or a .toml file")
    return path


def recipe_names(command: str) -> list[str]:
    """The built-in recipes of a command."""
    names = (entry.name for entry in (RECIPES / command).iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def resolve_recipe(default: Config, command: str, recipe: str, settings: Mapping[str, Any]) -> Config:
    """Make a configuration from recipe and command line; the later one wins.

    Args:
        default: the configuration that the recipe changes.
        command: command whose recipe it is.
        recipe: name of a built-in recipe, or a TOML file.
        settings: values by the name of their option.

    Raises:
        UserError: the recipe, a key or a value is not possible.
    """
    path = recipe_path(command, recipe)
    return validated(with_options(override(default, {**read_toml(path), "recipe": path.stem}), settings))


def recipes(default: Config, command: str) -> dict[str, Config]:
    """The configuration of each built-in recipe of a command, by its name."""
    return {name: resolve_recipe(default, command, name, {}) for name in recipe_names(command)}
