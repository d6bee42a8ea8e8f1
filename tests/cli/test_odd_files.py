"""Pipes, devices and loops of links in the place of files and folders that are given on the command line."""

import os
import socket
from pathlib import Path

import pytest

from tests.e2e.commands import error_of, invoke
from tests.e2e.small_set import add_image, add_split, labels

SET = ("--dataset", "sbd", "--data", "set", "--split", "train")
FILES = {
    "configuration": ("proposals", "run", *SET, "--out", "out", "--config", "odd.toml"),
    "checkpoint": ("proposals", "run", *SET, "--out", "out", "--checkpoint", "odd.toml"),
    "adapter": ("eval", "run", *SET, "--out", "out", "--adapter", "odd.toml"),
    "list": ("proposals", "run", *SET, "--out", "out", "--exclude-list", "odd.toml"),
    "recipe": ("finetune", "--proposals", "none", "--out", "out", "--recipe", "odd.toml"),
    "recipe of a study": ("study", "--out", "out", "--report", "out.md", "--recipe", "odd.toml"),
    "adapter of the authors": ("adapter", "import", "odd.toml", "out.safetensors"),
    "adapter to export": ("adapter", "export", "odd.toml", "out.safetensors", "--format", "merged"),
}


@pytest.fixture(autouse=True)
def small_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    add_image(tmp_path / "set", "2008_000001", labels())
    add_split(tmp_path / "set", "train", "2008_000001")


def make(place, kind):
    """Put something that is no file in a place."""
    if kind == "a pipe":
        os.mkfifo(place)
    elif kind == "a device or a pipe":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(place)
    else:
        Path(place).symlink_to("/dev/zero" if kind == "a device or socket" else place)


@pytest.mark.parametrize("kind", ["a pipe", "a device or socket", "a device or a pipe", "a loop of links"])
@pytest.mark.parametrize("what", FILES)
def test_the_message_says_what_lies_in_the_place_of_a_file(what, kind):
    make("odd.toml", kind)
    error = error_of(invoke(*FILES[what]))
    assert error.endswith(f"odd.toml is {kind}")
    assert "does not exist" not in error
    assert not os.path.lexists("out")


@pytest.mark.parametrize(
    ("command", "where"),
    [
        (("proposals", "run", *SET, "--out", "odd"), "odd/database"),
        (("finetune", "--proposals", "none", "--out", "odd"), "odd"),
        (("pretrain", "--out", "odd"), "odd"),
        (("study", "--recipe", "small", "--out", "odd", "--report", "odd.md"), "odd"),
    ],
    ids=lambda given: given[0] if isinstance(given, tuple) else None,
)
def test_an_output_folder_that_is_a_loop_of_links(tmp_path, command, where):
    Path("odd").symlink_to("odd")
    assert f"{where} is a loop of links" in error_of(invoke(*command))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd", "set"]


@pytest.mark.parametrize("arguments", [(), ("a",), ("a", "b"), ("a", "b", "--format", "x")], ids=len)
def test_what_is_wrong_with_the_arguments_is_one_line(arguments):
    error_of(invoke("adapter", "export", *arguments))


BROKEN = "is a link to gone, which does not exist"
"""What is wrong with the links of the next tests."""


@pytest.mark.parametrize("out", ["odd", "odd/below"])
@pytest.mark.parametrize(
    "command",
    [
        ("proposals", "run", *SET),
        ("proposals", "run", *SET, "--dry-run"),
        ("eval", "run", *SET),
        ("finetune", "--proposals", "none"),
        ("pretrain", "--max-minutes", "0"),
        ("study", "--recipe", "small", "--report", "none/odd.md"),
    ],
    ids=lambda command: " ".join(word for word in command[:2] + command[-1:] if word.isalpha() or word == "--dry-run"),
)
def test_an_output_folder_that_is_a_link_to_nothing(tmp_path, command, out):
    Path("odd").symlink_to("gone")
    error = error_of(invoke(*command, "--out", out))
    assert error == f"--out: {tmp_path / 'odd'} {BROKEN}; make that folder, or name another one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["odd", "set"]


def test_a_link_to_nothing_inside_the_output_folder(tmp_path):
    Path("out").mkdir()
    Path("out/database").symlink_to("gone")
    error = error_of(invoke("proposals", "run", *SET, "--out", "out"))
    link = tmp_path / "out/database"
    assert error.startswith(f"cannot write {link}/lock.json: {link} {BROKEN}")
    assert error_of(invoke("data", "inspect", "demo", "--split", "1", "--out", "out/database/page.html")) == (
        f"cannot write out/database/page.html: {link} {BROKEN}"
    )
