"""The commands and files of docs/guide/clusters.md."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.commands import ENVIRONMENT, start, wait
from tests.e2e.small_set import SIZES, write_set

GUIDE = Path(__file__).parents[2] / "docs/guide"
PROGRAMS = Path(sys.executable).parent
LOOPBACK = "127.0.0.1"


def manifests():
    """The documents of kubernetes.yaml, by kind and name."""
    yaml = pytest.importorskip("yaml")
    documents = yaml.safe_load_all((GUIDE / "kubernetes.yaml").read_text())
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}


def command_of(kind, name):
    """The command of the only container of a manifest's pods."""
    (container,) = manifests()[kind, name]["spec"]["template"]["spec"]["containers"]
    return container["command"]


def guide_commands():
    """The lines of the guide that start a scheduler, workers and a run, without comments."""
    block = re.search(r"^```\n(dask scheduler.*?)^```", (GUIDE / "clusters.md").read_text(), re.M | re.S)[1]
    return [shlex.split(line, comments=True) for line in block.splitlines()]


def slurm_script():
    """The module slurm_cluster.py."""
    pytest.importorskip("dask_jobqueue")
    spec = importlib.util.spec_from_file_location("slurm_cluster", GUIDE / "slurm_cluster.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def process(command, folder):
    """A process with a working directory and a log of its own; ended with the block."""
    folder.mkdir()
    with (folder / "log").open("wb") as log:
        started = subprocess.Popen(
            [str(each) for each in command],
            cwd=folder,
            env=os.environ | ENVIRONMENT | {"PATH": f"{PROGRAMS}:{os.environ['PATH']}"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
    finally:
        started.terminate()
        try:
            started.wait(timeout=20)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def opened_models(log):
    """Addresses of the workers that opened the model, by the log of a run."""
    return set(re.findall(r"worker (tcp://\S+): process \d+ on \S+ opened the model", log.read_text()))


def check_run(command, address, tmp_path, workers, option="--scheduler"):
    """A command of the guide, on a small set and a cluster."""
    data, out = write_set(tmp_path / "data"), tmp_path / "out"
    theirs = {"--data": data, "--out": out, option: address}
    assert command[:3] == ["agg", "proposals", "run"]
    assert {word.partition("=")[0] for word in command[3:] if word.startswith("--")} == {"--dataset", *theirs}
    given = [each for name, value in theirs.items() for each in (name, value)]
    result = wait(start("proposals", "run", *SIZES, *given, "--gallery-images", "0"))
    assert (result.code, result.stderr) == (0, "")
    assert "4 of 4 images" in result.stdout
    assert 1 <= len(opened_models(out / "log.txt")) <= workers


@contextmanager
def scheduler(command, folder):
    """The address of a scheduler that a command starts on a free port of this machine."""
    file = folder / "scheduler.json"
    command = [{"8786": "0", ":8787": f"{LOOPBACK}:0"}.get(word, word) for word in command]
    with process([*command, "--host", LOOPBACK, "--scheduler-file", file], folder / "scheduler"):
        deadline = time.monotonic() + 60
        while not file.exists():
            assert time.monotonic() < deadline, (folder / "scheduler/log").read_text()
            time.sleep(0.05)
        yield json.loads(file.read_text())["address"]


@pytest.mark.long
def test_the_commands_of_the_guide_with_three_workers_in_other_folders(tmp_path):
    of_scheduler, of_worker, of_run = guide_commands()
    with ExitStack() as stack:
        address = stack.enter_context(scheduler([*of_scheduler, "--dashboard-address", ":8787"], tmp_path))
        one = [{"tcp://host:8786": address, "8": "1"}.get(word, word) for word in of_worker]
        for n in range(3):
            stack.enter_context(process(one, tmp_path / f"worker-{n}"))
        check_run(of_run, address, tmp_path, 3)


@pytest.mark.long
def test_the_commands_of_the_manifest(tmp_path):
    with ExitStack() as stack:
        address = stack.enter_context(scheduler(command_of("Deployment", "agg-scheduler"), tmp_path))
        worker = [
            {"tcp://agg-scheduler:8786": address}.get(word, word) for word in command_of("Deployment", "agg-worker")
        ]
        stack.enter_context(process(worker, tmp_path / "worker"))
        check_run(command_of("Job", "agg-run"), address, tmp_path, 4)


def test_the_manifest_is_one_that_kubernetes_takes():
    kubernetes = pytest.importorskip("kubernetes_validate")
    found = manifests()
    for manifest in found.values():
        kubernetes.validate(manifest, "1.30", strict=True)
    service = found["Service", "agg-scheduler"]
    for name in ("agg-scheduler", "agg-worker"):
        spec = found["Deployment", name]["spec"]
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"] == {"app": name}
    assert service["spec"]["selector"] == {"app": "agg-scheduler"}
    assert "tcp://agg-scheduler:8786" in command_of("Deployment", "agg-worker")
    assert "--scheduler=tcp://agg-scheduler:8786" in command_of("Job", "agg-run")


def test_the_job_that_slurm_gets():
    module = slurm_script()
    with module.slurm_cluster(workers=4, gpus=True, memory="16GB", hours=3, partition="gpu") as cluster:
        script, address = cluster.job_script(), cluster.scheduler_address
    asked = re.findall(r"^#SBATCH (.*)$", script, re.M)
    assert {"-p gpu", "-n 1", "--cpus-per-task=8", "--mem=15G", "-t 03:00:00", "--gres=gpu:1"} <= set(asked)
    *_, last = script.strip().splitlines()
    words = shlex.split(last)
    assert words[:4] == [sys.executable, "-m", "distributed.cli.dask_worker", address]
    given = dict(pairwise(words))
    assert (given["--nworkers"], given["--nthreads"], given["--memory-limit"]) == ("4", "2", "0")
    assert "export MALLOC_TRIM_THRESHOLD_=1073741824 OMP_NUM_THREADS=1" in script


SBATCH = """#!/bin/sh
cp "$1" {job}
nohup sh {job} > {log} 2>&1 &
echo $! >> {pids}
echo "Submitted batch job $!"
"""


@pytest.mark.long
def test_the_script_for_slurm_with_jobs_that_run_here(tmp_path):
    pytest.importorskip("dask_jobqueue")
    programs, pids = tmp_path / "bin", tmp_path / "pids"
    programs.mkdir()
    for name, text in (
        ("sbatch", SBATCH.format(job=tmp_path / "job", log=tmp_path / "job.log", pids=pids)),
        ("scancel", '#!/bin/sh\nkill "$@"\n'),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    data, out = write_set(tmp_path / "data"), tmp_path / "out"
    run = ("agg", "proposals", "run", *SIZES, "--data", data, "--out", out, "--gallery-images", "0")
    script = (sys.executable, GUIDE / "slurm_cluster.py", "--jobs", "1", "--workers", "2", "--", *run)
    done = subprocess.run(
        [str(each) for each in script],
        cwd=tmp_path,
        env=os.environ | ENVIRONMENT | {"PATH": f"{programs}:{PROGRAMS}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "job.log").read_text()
    assert "4 of 4 images" in done.stdout
    assert 1 <= len(opened_models(out / "log.txt")) <= 2
    (job,) = pids.read_text().split()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{job}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{job}").exists()
