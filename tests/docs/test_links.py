"""The documents: links, anchors, files, commands and options that they name are there."""

import re
import shlex
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

from agg_pipeline.cli.main import main
from agg_pipeline.storage.store import Store
from agg_pipeline.study.study_report import INTRODUCTION
from schemas.crop import area

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "recipes/**/*.md", "agg_pipeline/**/*.md", "schemas/*.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s]+)\)")
NAMED = re.compile(r"(\w+)\.(?!py$)(\w+)")
FOREIGN = {"--nthreads", "--nworkers", "--memory-limit", "--gres", "--repo-type"}
"""Options of other programs."""


def prose(path: Path) -> str:
    """A document without its code blocks."""
    return FENCE.sub("", path.read_text())


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code(text: str) -> list[str]:
    """Lines of code blocks (continued ones joined) and code between backticks."""
    blocks = [block.partition("\n")[2].rpartition("\n")[0] for block in FENCE.findall(text)]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def commands(path: Path) -> list[list[str]]:
    """The ``agg`` commands that a document names, as words after ``agg``; comments are left out."""
    found = (re.match(r"(?:\$ )?(?:\S*/)?agg (.*)", line.strip()) for line in code(path.read_text()))
    return [shlex.split(match[1], comments=True) for match in found if match]


def undefined(words: list[str]) -> list[str]:
    """The first subcommand, or all options, that a command line names and ``agg`` does not have."""
    command: click.Command = main
    context = click.Context(main)
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        following = command.get_command(context, rest[0])
        if following is None:
            return [rest[0]]
        command, rest = following, rest[1:]
    known = {name for each in command.get_params(context) for name in (*each.opts, *each.secondary_opts)}
    return [word for word in rest if word.startswith("-") and word.partition("=")[0] not in known | {"--help", "-h"}]


def options(command: click.Command) -> set[str]:
    """The options of a command and of all commands in it."""
    context = click.Context(command)
    found = {name for each in command.get_params(context) for name in (*each.opts, *each.secondary_opts)}
    if isinstance(command, click.Group):
        within = (command.get_command(context, name) for name in command.list_commands(context))
        found |= {name for each in within if each is not None for name in options(each)}
    return found


def test_documents_are_found() -> None:
    names = {str(path.relative_to(ROOT)) for path in DOCUMENTS}
    assert {"README.md", "docs/guide/proposals.md", "agg_pipeline/models/weights/README.md"} <= names
    assert sum(len(commands(path)) for path in DOCUMENTS) > 50


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(path: Path) -> None:
    broken = []
    for text, target in LINK.findall(prose(path)):
        if target.startswith(("http://", "https://")):
            continue
        place, _, anchor = target.partition("#")
        linked = (path.parent / place).resolve() if place else path
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            broken.append(target)
        elif (named := NAMED.fullmatch(text)) and linked == linked.with_name(f"{named[1]}.py"):
            # "module.function" as the text of a link to a module.
            defined = re.findall(r"^(?:def|class) (\w+)", linked.read_text(), re.MULTILINE)
            broken += [] if named[2] in defined else [f"{text} in {target}"]
    assert broken == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_options_exist(path: Path) -> None:
    wrong = {" ".join(words): undefined(words) for words in commands(path)}
    assert {line: names for line, names in wrong.items() if names} == {}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_options_named_alone_exist(path: Path) -> None:
    """Options between backticks, as ``--dry-run``, belong to some command."""
    ours = (text for text in re.findall(r"`([^`\n]+)`", prose(path)) if not text.startswith("python "))
    named = {name for text in ours for name in re.findall(r"(?<!\S)--[a-z-]+", text)}
    assert named - options(main) - FOREIGN == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_files_exist(path: Path) -> None:
    """Paths of this repository between backticks, as ``stages/draws.py``."""
    folders = "|".join(sorted(each.name for each in ROOT.iterdir() if each.is_dir() and each.name.isidentifier()))
    named = re.findall(rf"`((?:{folders})/[\w./-]+)`", prose(path))
    assert [name for name in named if "runs/" not in name and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_knows_targets_and_variables(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    known = set(re.findall(r"^([A-Z_]+) :?=", makefile, re.MULTILINE))
    known |= set(re.findall(r"^TARGETS = (.*)$", makefile, re.MULTILINE)[0].split())
    found = (re.match(r"(?:\$ )?make (.*)", line.strip()) for line in code(path.read_text()))
    words = {word for match in found if match for word in shlex.split(match[1], comments=True)}
    assert {word.partition("=")[0] for word in words} - known == set()


def test_the_protocol_has_the_sections_that_the_code_cites() -> None:
    sources = (text for name in ("agg_pipeline", "stages", "schemas") for text in (ROOT / name).rglob("*.py"))
    cited = {number for path in sources for number in re.findall(r"protocol, section (\d)", path.read_text())}
    headings = re.findall(r"^## (\d)\.", (ROOT / "docs/reference/protocol.md").read_text(), re.MULTILINE)
    assert headings == ["1", "2", "3", "4", "5"]
    assert {"1", "2", "3", "5"} <= cited <= set(headings)


def test_the_reader_in_contributing_works(tmp_path: Path) -> None:
    """The example of a new data set lists and reads one."""
    (example,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL)
    reader: dict[str, Any] = {}
    exec(compile(example, "CONTRIBUTING.md", "exec"), reader)
    ids = np.zeros((6, 8), np.uint8)
    ids[1:3, 2:5], ids[4, 7] = 1, 2
    for folder, name, pixels in (("photos", "a.jpg", np.zeros((6, 8, 3), np.uint8)), ("ids", "a.png", ids)):
        (tmp_path / folder).mkdir()
        Image.fromarray(pixels).save(tmp_path / folder / name)
    dataset = reader["open_mine"](Store(str(tmp_path)), "all")
    assert [entry.image_id for entry in dataset.entries] == ["a"]
    record = dataset.read(dataset.entries[0])
    assert [(thing.instance_id, area(thing.mask)) for thing in record.objects] == [(1, 6), (2, 1)]


def test_undefined_names_what_is_not_there() -> None:
    assert undefined(["proposals", "run", "--out", "x", "--no-flip", "--seed=1"]) == []
    assert undefined(["proposals", "run", "--nonsense", "--out", "x"]) == ["--nonsense"]
    assert undefined(["nonsense", "run"]) == ["nonsense"]


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_the_study_begins_as_the_program_would_begin_it() -> None:
    assert (ROOT / "docs" / "results" / "study.md").read_text().startswith(INTRODUCTION)
