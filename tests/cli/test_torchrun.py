"""Trainings that torchrun starts: every process runs the command, the first one writes and speaks."""

import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.e2e.commands import ENVIRONMENT, start, wait

RESULT = "adapter.safetensors"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text('[training]\nepochs = 2\nbatch = 2\nloaders = 0\n[augment]\nsize = 32\nview = "zoom"\n')
    return path


@pytest.fixture
def command(proposals, data, recipe):
    inputs = ("--proposals", proposals, "--data", data, "--recipe", recipe, "--device", "cpu")
    return lambda out, *options: ("finetune", *inputs, "--out", out, "--validation-masks", 0, *options)


def torchrun(*arguments, processes=2):
    """Start ``agg`` under torchrun."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}")
    return subprocess.Popen(
        [*launcher, "-m", "agg_pipeline.cli", *map(str, arguments)],
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.long
def test_torchrun_and_processes_of_the_command_learn_the_same(command, tmp_path):
    own = wait(start(*command(tmp_path / "own", "--devices", 2)))
    theirs = wait(torchrun(*command(tmp_path / "theirs")))
    assert (own.code, theirs.code) == (0, 0), (own.stderr, theirs.stderr)
    for name, expected in load_file(tmp_path / "own" / RESULT).items():
        assert torch.equal(load_file(tmp_path / "theirs" / RESULT)[name], expected), name
    steps = [re.findall(r"step \d+ of 6, loss [\d.]+", done.stdout) for done in (own, theirs)]
    assert steps[0]
    assert len(set(steps[1])) == len(steps[1]), "one process prints"
    assert theirs.stdout.count("learning from") == 1
    assert {path.name for path in (tmp_path / "theirs").iterdir()} == {
        path.name for path in (tmp_path / "own").iterdir()
    }


@pytest.mark.long
def test_an_error_under_torchrun_is_one_line_of_the_first_process(command, tmp_path):
    done = wait(torchrun(*command(tmp_path / "out", "--devices", 3)))
    assert done.code != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert set(lines) == {"error: --devices 3 differs from the 2 processes that torchrun has started; leave it out"}
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.pt"))


@pytest.mark.long
def test_a_process_of_torchrun_that_is_killed(command, tmp_path):
    out = tmp_path / "out"
    running = torchrun(*command(out, "--epochs", 10000, "--checkpoint-minutes", 0))
    deadline = time.monotonic() + 100
    while not (out / "checkpoint.pt").exists():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    helpers = [each for each in psutil.Process(running.pid).children() if each.environ().get("RANK") == "1"]
    helpers[0].send_signal(signal.SIGKILL)
    done = wait(running)
    assert done.code != 0
    assert "error: the connection to another process of the training is lost; run the same" in done.stderr or (
        "stopped; run the same command with --resume" in done.stderr
    ), done.stderr
    assert not (out / "lock.json").exists()
