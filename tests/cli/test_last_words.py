"""Commands whose output is closed or full, and text that would disturb a terminal."""

import os
import subprocess
import sys

import pytest

from agg_pipeline.cli import __main__
from agg_pipeline.datasets import registry
from tests.e2e.commands import ENVIRONMENT, error_of, invoke, start

AGG = (sys.executable, "-m", "agg_pipeline.cli")


def run(*arguments, **options):
    return subprocess.run(
        [*AGG, *arguments], env=os.environ | ENVIRONMENT, stderr=subprocess.PIPE, text=True, timeout=120, **options
    )


@pytest.mark.parametrize(
    "arguments", [("--help",), ("data", "inspect", "demo", "--split", "2"), ("eval", "--help")], ids=str
)
def test_a_full_output_is_one_line(arguments):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        result = run(*arguments, stdout=full)
    assert (result.returncode, result.stderr) == (2, "error: cannot print: No space left on device\n")


@pytest.mark.parametrize("arguments", [("--help",), ("data", "inspect", "demo", "--split", "2")], ids=str)
def test_a_reader_that_has_left_is_not_worth_a_word(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = run(*arguments, stdout=writing)
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.parametrize("arguments", [("--help",), ("data", "list")], ids=str)
def test_outputs_without_a_buffer(arguments, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    test_a_full_output_is_one_line(arguments)
    test_a_reader_that_has_left_is_not_worth_a_word(arguments)


def test_a_reader_of_a_training_that_has_left_is_not_worth_a_word(tmp_path):
    few = ("--data", "demo:2", "--size", "32", "--batch", "2", "--loaders", "0", "--validation-masks", "0")
    training = start("pretrain", "--out", tmp_path / "out", *few, "--max-minutes", "0")
    assert training.stdout.readline().startswith("learning from demo")
    training.stdout.close()
    assert (training.wait(120), training.stderr.read()) == (1, "")
    training.stderr.close()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "/tmp/page.html"), "/tmp/page.html: No space left on device"),
        (OSError(32, "Broken pipe", "/tmp/a\x1b"), "/tmp/a\\x1b: Broken pipe"),
        (OSError(18, "Invalid cross-device link", "a", None, "b"), "a and b: Invalid cross-device link"),
        (OSError(28, "No space left on device", b"a\xff"), "a\\xff: No space left on device"),
        (
            OSError(28, "No space left on device"),
            "OSError: No space left on device; agg --debug shows where it comes from",
        ),
        (
            BrokenPipeError(32, "Broken pipe"),
            "BrokenPipeError: Broken pipe; agg --debug shows where it comes from",
        ),
        (TimeoutError(), "TimeoutError; agg --debug shows where it comes from"),
        (OSError(5, "Input/output error", 7), "OSError: Input/output error; agg --debug shows where it comes from"),
    ],
    ids=repr,
)
def test_other_errors_of_the_system_are_reported_as_what_they_are(error, said, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(registry, "open_dataset", fail)
    result = invoke("data", "inspect", "demo")
    assert (result.code, error_of(result)) == (2, said)
    # click takes every broken pipe for one of the output.
    with pytest.raises(RuntimeError if isinstance(error, BrokenPipeError) else type(error)):
        invoke("--debug", "data", "inspect", "demo")


def test_a_module_that_finds_no_folder_for_temporary_files_hides_no_cause(monkeypatch, tmp_path):
    def fail(*_):
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp', '/var/tmp']")

    monkeypatch.setattr(registry, "open_dataset", fail)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "file" / "tmp"))
    (tmp_path / "file").touch()
    result = invoke("data", "inspect", "demo")
    said = "cannot write temporary files: Not a directory; set TMPDIR to a folder with room for them"
    assert (result.code, error_of(result)) == (2, said)


def test_both_outputs_full():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        process = subprocess.run(
            [*AGG, "nonsense"], env=os.environ | ENVIRONMENT, stdout=full, stderr=full, timeout=120
        )
    assert process.returncode == 2


def test_control_characters_of_an_argument_are_shown_as_escapes():
    result = run("proposals", "status", "no\x1b[31m\x07thing", stdout=subprocess.DEVNULL)
    assert result.returncode == 2
    assert "no\\x1b[31m\\x07thing" in result.stderr
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("can't start new thread"), OSError(12, "Cannot allocate memory")], ids=repr
)
def test_a_machine_without_memory_is_one_line(error, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(registry, "open_dataset", fail)
    said = error_of(invoke("data", "inspect", "demo"))
    assert said == "there is not enough memory; end other programs, or use fewer --workers or --loaders"
    with pytest.raises(type(error)):
        invoke("--debug", "data", "inspect", "demo")


@pytest.mark.parametrize("size", ["9" * 5000, "\u00b2", str(10**9), "", "-1"], ids=lambda size: size[:10])
def test_an_odd_size_of_the_terminal_is_passed_over(tmp_path, size):
    command = [*AGG, "data", "inspect", "demo", "--split", "1", "--images", "0", "--out", str(tmp_path / "page.html")]
    sizes = {"COLUMNS": size, "LINES": size}
    result = subprocess.run(command, env=os.environ | ENVIRONMENT | sizes, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (0, "")
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_an_interrupt_while_modules_are_imported_is_one_line(monkeypatch, capfd):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "refuse_foreign_packages", interrupted)
    with pytest.raises(SystemExit) as ended:
        __main__.run()
    assert ended.value.code == 130
    assert capfd.readouterr() == ("", "stopped\n")
