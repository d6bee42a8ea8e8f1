"""Writes docs/reference/configuration.md from the dataclasses: ``.venv/bin/python -m docs.configuration``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from agg_pipeline.cli.config_options import default_text, recipes
from agg_pipeline.cli.study import RECIPES as STUDIES
from agg_pipeline.study.study_config import StudyConfig
from schemas.fields import INFINITY, LARGEST, Key, keys_of
from schemas.presets import EVALUATION_PRESETS, PRESETS
from schemas.training import FinetuneConfig, PretrainConfig

PAGE = Path(__file__).parent / "reference" / "configuration.md"
OWN = "own recipe"
"""What the defaults of a recipe of one's own are called."""

INTRODUCTION = """# Configuration

Written by `python -m docs.configuration` from the configuration's dataclasses (`schemas/config.py`,
`schemas/training.py`, `agg_pipeline/study/study_config.py`); do not edit it by hand.

A run takes each key from its preset (`--preset`) or recipe (`--recipe`), then from the TOML file (`--config`, or a file
as `--recipe`), then from the command line; the later one wins. Tables of the TOML file have the names of the sections
below:

```toml
seed = 3

[loop]
rounds = 2
```

An unknown key is an error. A default that differs between presets or recipes is listed with their names. A recipe of
your own (`--recipe mine.toml`) starts from the defaults for "own recipe" or, in fine-tuning, for "paper". All keys of a
run are part of its plan, whose hash decides whether it can be resumed.
"""

Section = tuple[str, str, Mapping[str, Any]]
SECTIONS: tuple[Section, ...] = (
    ("Proposals", "`agg proposals run` and `agg proposals annotate`; by preset.", PRESETS),
    ("Evaluation", "`agg eval run` and `agg eval adapted` (preset paper); by preset.", EVALUATION_PRESETS),
    (
        "Fine-tuning",
        "`agg finetune`; by recipe.",
        recipes(FinetuneConfig(), "finetune"),
    ),
    (
        "Pre-training",
        "`agg pretrain`; by recipe.",
        {OWN: PretrainConfig(), **recipes(PretrainConfig(), "pretrain")},
    ),
    ("Study", "`agg study`; by recipe.", {OWN: StudyConfig(), **STUDIES}),
)


def page() -> str:
    """The reference of all keys, in Markdown."""
    return "\n".join([INTRODUCTION, *(line for section in SECTIONS for line in _section(*section))]).rstrip() + "\n"


def _section(title: str, commands: str, configs: Mapping[str, Any]) -> Iterator[str]:
    first = next(iter(configs.values()))
    yield from (f"## {title}", "", f"{_sentence(first)} {commands}", "")
    yield from _table([key for key in keys_of(first) if "." not in key.name], configs)
    for each in dataclasses.fields(first):
        inner = getattr(first, each.name)
        if dataclasses.is_dataclass(inner):
            yield from (f"### {each.name}", "", _sentence(inner), "")
            yield from _table([key for key in keys_of(first) if key.name.startswith(f"{each.name}.")], configs)


def _sentence(config: Any) -> str:
    """What a dataclass says that it is."""
    return str(type(config).__doc__).splitlines()[0]


def _table(keys: list[Key], configs: Mapping[str, Any]) -> Iterator[str]:
    yield "| key | default | values | unit | option | meaning |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for key in keys:
        setting, name = key.setting, key.name.rpartition(".")[2]
        option = f"`--{key.option}`" if key.option else ""
        cells = (f"`{name}`", _default(key, configs), _values(key), setting.unit, option, setting.help)
        yield f"| {' | '.join(cells)} |"
    yield ""


def _default(key: Key, configs: Mapping[str, Any]) -> str:
    if all(getattr(config, key.name, None) == name for name, config in configs.items()):
        return "its name"
    return default_text(key, configs, toml=True)


def _values(key: Key) -> str:
    """Which values a key may have, in words."""
    low, high = key.setting.low, key.setting.high
    if isinstance(key.value, bool):
        return "true, false"
    if get_origin(key.hint) is Literal:
        return ", ".join(map(str, get_args(key.hint)))
    if isinstance(key.value, tuple):
        return "list"
    if isinstance(key.value, str):
        return key.setting.possible or "text"
    kind = "whole number" if isinstance(key.value, int) else "number"
    return f"{kind}, {low:g} or more" if high in (INFINITY, LARGEST) else f"{kind}, {low:g} to {high:g}"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
