"""Options generated from a configuration, and how it is resolved: preset or recipe < TOML file < command line.

A field of a configuration says by itself what it means, which values it may have and what its option is called
(``schemas.fields``); a new field is written there and nowhere else. Libraries for this bring a parser of their own
(tyro, cyclopts, simple-parsing) or another kind of class (pydantic-settings), and know neither a default per preset nor
one option for two fields. Here the options are click's, as all others of the commands.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import wraps
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

import click

from agg_pipeline.cli.option_groups import Command, Decorator, Option, option
from agg_pipeline.cli.options import Place, expanded, finite
from schemas.errors import UserError
from schemas.fields import INFINITY, LARGEST, Key, keys_of
from schemas.resolve import override, validated, with_options

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")

RECIPES = files("agg_pipeline") / "recipes"
"""Folders of TOML files, one for each command."""


class ConfigOption(Option):
    """An option of the configuration. Its default is that of the preset or recipe: None means that it is not given."""


def config_options(configs: Mapping[str, Any], *names: str) -> list[Decorator]:
    """Options for keys of a configuration.

    Args:
        configs: the configuration by preset or recipe; the help shows their defaults.
        names: dotted keys, and tables, of which all keys that have an option are taken.
    """
    tables = tuple(f"{name}." for name in names)
    found: dict[str, list[Key]] = {}
    for key in keys_of(next(iter(configs.values()))):
        if key.option and (key.name in names or key.name.startswith(tables)):
            found.setdefault(key.option, []).append(key)
    return [_option(name, keys, configs) for name, keys in found.items()]


def preset_option(presets: Mapping[str, Any]) -> Decorator:
    """The option that chooses the preset."""
    return option(
        "--preset",
        type=click.Choice(sorted(presets)),
        show_default="that of --config, or paper",
        help="Preset that the configuration starts from; --config and other options change it.",
    )


def recipe_option(command: str, default: str) -> Decorator:
    """The option that chooses a command's recipe."""
    return option(
        "--recipe",
        type=Place(),
        metavar="RECIPE",
        default=default,
        help=f"Recipe that the configuration comes from: {', '.join(recipe_names(command))}, or a TOML file.",
    )


def _option(name: str, keys: Sequence[Key], configs: Mapping[str, Any]) -> Decorator:
    """The option of a key, or of several that are set together."""
    key, texts = keys[0], [default_text(each, configs) for each in keys]
    attributes = _kind(key)
    if len(set(texts)) > 1:
        texts = [f"{text} as {each.name.rpartition('.')[2]}" for each, text in zip(keys, texts, strict=True)]
    return option(
        f"--{name}/--no-{name}" if isinstance(key.value, bool) else f"--{name}",
        name.replace("-", "_"),
        cls=ConfigOption,
        default=None,
        show_default="; ".join(dict.fromkeys(texts)),
        help=" ".join(each.setting.help for each in keys),
        **attributes,
    )


def _kind(key: Key) -> dict[str, Any]:
    """The type of an option, and what its values are called in the help."""
    setting = key.setting
    if isinstance(key.value, bool):
        return {}
    if get_origin(key.hint) is Literal:
        return {"type": click.Choice(setting.words or get_args(key.hint))}
    if isinstance(key.value, str):
        return {"metavar": (setting.unit or "text").upper()}
    high = None if setting.high in (INFINITY, LARGEST) else setting.high
    if isinstance(key.value, int):
        high = None if high is None else int(high)
        return {"type": click.IntRange(int(setting.low), high), "metavar": (setting.unit or "n").upper()}
    metavar = (setting.unit or "number").upper()
    return {"type": click.FloatRange(setting.low, high), "metavar": metavar, "callback": finite}


def default_text(key: Key, configs: Mapping[str, Any], toml: bool = False) -> str:
    """The default of a key in words: one value or, where they differ, each with its presets or recipes.

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
    if isinstance(value, bool):
        return str(value).lower() if toml else ("yes" if value else "no")
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if key.setting.words and not toml:
        return key.setting.words[get_args(key.hint).index(value)]
    return f"{value:g}" if isinstance(value, float) else str(value)


def configured(command: Command) -> Command:
    """A decorator: the options of the configuration that were given reach the command as one argument, ``settings``.

    It is a dict of their values by the name of the option.
    """

    @wraps(command)
    def called(**values: Any) -> None:
        options = [each for each in click.get_current_context().command.params if isinstance(each, ConfigOption)]
        given = {str(each.name).replace("_", "-"): values.pop(str(each.name)) for each in options}
        command(**values, settings={name: value for name, value in given.items() if value is not None})

    return called


def resolve(
    presets: Mapping[str, Config],
    preset: str | None,
    path: Path | None,
    settings: Mapping[str, Any],
    changes: Mapping[str, Any] | None = None,
) -> Config:
    """Preset < TOML file < command line.

    Args:
        presets: the configuration by the name of the preset.
        preset: the name that was given, None for the file's or "paper".
        path: TOML file, None for none.
        settings: values by the name of their option.
        changes: what other options say, nested as in TOML.

    Raises:
        UserError: the preset, a key or a value is not possible.
    """
    written = {} if path is None else read_toml(path)
    name = preset or written.get("preset", "paper")
    if name not in list(presets):
        raise UserError(f"unknown preset {name!r}; possible: {', '.join(sorted(presets))}")
    written.pop("preset", None)
    config = with_options(override(presets[name], written), settings)
    return validated(override(config, changes or {}))


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file; UserError if it is missing or broken."""
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"configuration file {path} does not exist") from None
    except OSError as error:
        raise UserError(f"configuration file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"configuration file {path} is not TOML: {error}") from error


def recipe_path(command: str, recipe: str) -> Path:
    """The TOML file of a command's recipe by its name, or the file itself; UserError if it is neither."""
    known = recipe_names(command)
    path = Path(str(RECIPES / command / f"{recipe}.toml")) if recipe in known else Path(expanded(recipe))
    if path.suffix != ".toml":
        raise UserError(f"unknown recipe {recipe!r}; possible: {', '.join(known)}, or a .toml file")
    return path


def recipe_names(command: str) -> list[str]:
    """The built-in recipes of a command."""
    names = (entry.name for entry in (RECIPES / command).iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def resolve_recipe(default: Config, command: str, recipe: str, settings: Mapping[str, Any]) -> Config:
    """Recipe (a name, or a TOML file) < command line.

    Args:
        default: the configuration that the recipe changes.
        command: whose recipe it is.
        recipe: its name or file.
        settings: values by the name of their option.

    Raises:
        UserError: the recipe, a key or a value is not possible.
    """
    path = recipe_path(command, recipe)
    return validated(with_options(override(default, {**read_toml(path), "recipe": path.stem}), settings))


def recipes(default: Config, command: str) -> dict[str, Config]:
    """The configuration of each built-in recipe of a command, by its name."""
    return {name: resolve_recipe(default, command, name, {}) for name in recipe_names(command)}
