"""Trainings that are killed, starved and damaged: the weights of an undisturbed training, or one line."""

import os
import re
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file

from tests.e2e.commands import invoke
from tests.faults.namespaces import PID, needs_namespace, small_disk
from tests.faults.processes import Commands, assert_clean, assert_done, assign, error_line, hold, shim

STEPS = 8
"""Steps of the training, in four epochs."""
STEP = "agg_pipeline.training.training_monitor:Monitor.__call__"
RESULT = "adapter.safetensors"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text('[training]\nepochs = 4\nbatch = 2\nloaders = 0\n[augment]\nsize = 32\nview = "zoom"\n')
    return path


@pytest.fixture
def finetune(commands, reference, recipe):
    """Starts a training on the database of the undisturbed run."""

    def start(out, *options, proposals=reference, **how):
        inputs = ("--proposals", proposals, "--data", commands.data, "--recipe", recipe, "--threads", 1)
        fixed = ("--validation-masks", 0, "--checkpoint-minutes", 0)
        return commands.start("finetune", *inputs, *fixed, "--out", out, *options, **how)

    return start


@pytest.fixture(scope="module")
def undisturbed(finished, recipe, tmp_path_factory):
    """Folder of an undisturbed training with a checkpoint after every step."""
    folder = tmp_path_factory.mktemp("undisturbed")
    inputs = ("--proposals", finished.out, "--data", finished.data, "--recipe", recipe, "--threads", 1)
    fixed = ("--validation-masks", 0, "--checkpoint-minutes", 0)
    result = Commands(folder, finished.data).start("finetune", *inputs, *fixed, "--out", folder / "out").end()
    assert result.code == 0, result
    assert rows(folder / "out") == STEPS
    return folder / "out"


def rows(out):
    """Steps that the log of a training has."""
    path = out / "steps.csv"
    return path.read_text().count("\n") - 1 if path.exists() else 0


def weights(out):
    """Tensors of the result; the file also says how many loaders there were."""
    return {name: value.numpy().tobytes() for name, value in load_file(out / RESULT).items()}


def held(tmp_path, step):
    """A gate, and the environment of a training that waits there when it has made a step, before its checkpoint."""
    gate = tmp_path / f"gate{step}"
    gate.touch()
    return gate, shim(tmp_path, hold(STEP, gate, f"args[1].step >= {step}"))


def kill_at(finetune, out, tmp_path, step, *options):
    """Kill a training at a step; nothing of it stays alive."""
    gate, environment = held(tmp_path, step)
    running = finetune(out, *options, environment=environment)
    running.wait_for(gate.with_name(f"{gate.name}-waits").exists, "the step")
    running.signal(signal.SIGKILL)
    assert running.end().code == -signal.SIGKILL
    gate.with_name(f"{gate.name}-waits").unlink()


def resume(finetune, out, *options, **how):
    again = "--resume" if (out / "checkpoint.pt").exists() else "--overwrite"
    result = finetune(out, again, *options, **how).end()
    assert result.code == 0, result
    return result


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_killed_training_and_a_flipped_bit(finetune, undisturbed, tmp_path):
    out = tmp_path / "out"
    kill_at(finetune, out, tmp_path, 5)
    damaged = shutil.copytree(out, tmp_path / "damaged")
    flip(damaged / "checkpoint.pt")
    error = error_line(finetune(damaged, "--resume").end())
    assert re.match(rf"{damaged}/checkpoint\.pt is damaged ", error), error
    assert error.endswith("; use --overwrite to start afresh")
    resume(finetune, out)
    assert weights(out) == weights(undisturbed)
    assert rows(out) == STEPS
    assert not (out / "lock.json").exists()


@pytest.mark.faults_long
@pytest.mark.parametrize(("loaders", "steps"), [(0, (1, 2, 3, 5, 6, 7, 8)), (2, (1, 4, 8))])
def test_many_kills_in_a_row(finetune, undisturbed, tmp_path, loaders, steps):
    """At its first steps, its last, and between."""
    out = tmp_path / "out"
    for step in steps:
        options = ("--resume",) if (out / "checkpoint.pt").exists() else ()
        kill_at(finetune, out, tmp_path, step, "--loaders", loaders, *options)
    resume(finetune, out, "--loaders", loaders)
    assert weights(out) == weights(undisturbed)
    assert rows(out) == STEPS


@pytest.mark.faults_long
@pytest.mark.usefixtures("hangup")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_stop_a_training_cleanly(finetune, undisturbed, tmp_path, number):
    out = tmp_path / "out"
    gate, environment = held(tmp_path, 4)
    running = finetune(out, "--loaders", 1, environment=environment)
    running.wait_for(gate.with_name(f"{gate.name}-waits").exists, "the step")
    for _ in range(3):
        running.signal(number, group=True)
    result = running.end()
    assert result.code == 130
    assert "Traceback" not in result.stderr
    assert "--resume" in result.stderr.splitlines()[-1]
    assert_clean(out)
    resume(finetune, out, "--loaders", 1)
    assert weights(out) == weights(undisturbed)


@pytest.mark.faults_long
def test_a_second_training_in_the_same_folder(finetune, undisturbed, tmp_path):
    out = tmp_path / "out"
    gate, environment = held(tmp_path, 4)
    running = finetune(out, environment=environment)
    running.wait_for(gate.with_name(f"{gate.name}-waits").exists, "the step")
    for how in ((), ("--overwrite",), ("--resume",)):
        assert f"is being written by another run (process {running.pid} " in error_line(finetune(out, *how).end())
    gate.unlink()
    assert running.end().code == 0
    assert weights(out) == weights(undisturbed)


@pytest.mark.faults_long
def test_a_training_that_was_suspended_too_long_stops(finetune, undisturbed, tmp_path):
    needs_namespace(PID)
    out = tmp_path / "out"
    quick = assign(storage__lock__HEARTBEAT_SECONDS=0.3, storage__lock__DEAD_AFTER_SECONDS=4.0)
    gate = tmp_path / "gate"
    gate.touch()
    environment = shim(tmp_path, quick, hold(STEP, gate, "args[1].step >= 4"))
    running = finetune(out, prefix=PID, environment=environment)
    running.wait_for(gate.with_name("gate-waits").exists, "the step")
    family = running.family()
    for each in family:
        each.send_signal(signal.SIGSTOP)
    second = finetune(out, "--overwrite", environment=shim(tmp_path, quick)).end()
    assert second.code == 0, second
    made = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file() and path.name != "log.txt"}
    gate.unlink()
    for each in family:
        each.send_signal(signal.SIGCONT)
    error_line(running.end())
    assert weights(out) == weights(undisturbed)
    steps = made.pop("steps.csv")
    left = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file() and path.name != "log.txt"}
    # The step that it was in the middle of may still be logged.
    assert left.pop("steps.csv").startswith(steps)
    assert left == made


@pytest.mark.faults_long
@pytest.mark.parametrize("size", [8, 64, 300, 700, 1500])
def test_full_disks_of_several_sizes(finetune, tmp_path, size):
    with small_disk(tmp_path / "disk", f"size={size}k") as disk:
        result = finetune(disk / "out").end()
        if result.code == 0:
            pytest.skip("the disk is large enough")
        error = error_line(result)
        assert "No space left on device" in error, error
        assert_clean(disk / "out")


@pytest.mark.faults_long
def test_a_disk_that_fills_up_after_a_checkpoint(finetune, undisturbed, tmp_path):
    with small_disk(tmp_path / "disk", "size=64m") as disk:
        out = disk / "out"
        gate, environment = held(tmp_path, 4)
        running = finetune(out, environment=environment)
        running.wait_for(gate.with_name(f"{gate.name}-waits").exists, "the step")
        try:
            with (disk / "filler").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        except OSError:
            gate.unlink()
        assert "No space left on device" in error_line(running.end())
        assert_clean(out)
        (disk / "filler").unlink()
        resume(finetune, out)
        assert weights(out) == weights(undisturbed)
        assert rows(out) == STEPS


def edited(change):
    """Damage a checkpoint as somebody would who has torch."""

    def damage(out):
        content = torch.load(out / "checkpoint.pt", weights_only=True)
        change(content)
        torch.save(content, out / "checkpoint.pt")

    return damage


def cut(out, share):
    path = out / "checkpoint.pt"
    os.truncate(path, int(path.stat().st_size * share))


DAMAGE = {
    "cut": lambda out: cut(out, 0.5),
    "empty": lambda out: cut(out, 0),
    "a bit": lambda out: flip(out / "checkpoint.pt"),
    "a list": lambda out: torch.save([1], out / "checkpoint.pt"),
    "a folder": lambda out: ((out / "checkpoint.pt").unlink(), (out / "checkpoint.pt").mkdir()),
    "step -3": edited(lambda content: content.update(step=-3)),
    "step 10 ** 9": edited(lambda content: content.update(step=10**9)),
    "step is text": edited(lambda content: content.update(step="x")),
    "no step": edited(lambda content: content.update(step=None)),
    "state is a list": edited(lambda content: content.update(state=[1])),
    "no optimiser": edited(lambda content: content.update(optimizer=None)),
    "empty optimiser": edited(lambda content: content.update(optimizer={})),
    "weights are nan": edited(lambda content: [value.fill_(float("nan")) for value in content["state"].values()]),
    "no checksum": edited(lambda content: content.pop("checksum")),
}
LOGS = {
    "steps.csv cut": lambda out: os.truncate(out / "steps.csv", (out / "steps.csv").stat().st_size - 7),
    "steps.csv deleted": lambda out: (out / "steps.csv").unlink(),
    "steps.csv empty": lambda out: (out / "steps.csv").write_text(""),
    "training.json deleted": lambda out: (out / "training.json").unlink(),
}
PLANS = {
    "steps.csv junk": lambda out: (out / "steps.csv").write_bytes(b"\xff\xfe\0junk\n,,,\n"),
    "training.json junk": lambda out: (out / "training.json").write_text("{"),
    "training.json deep": lambda out: (out / "training.json").write_text("[" * 100_000),
    "training.json is a list": lambda out: (out / "training.json").write_text("[]"),
}


@pytest.fixture(scope="module")
def half(finished, recipe, tmp_path_factory):
    """A training that was killed after its fifth step."""
    folder = tmp_path_factory.mktemp("half")
    inputs = ("--proposals", finished.out, "--data", finished.data, "--recipe", recipe, "--threads", 1)
    gate, environment = held(folder, 5)
    running = Commands(folder, finished.data).start(
        *("finetune", *inputs, "--validation-masks", 0, "--checkpoint-minutes", 0, "--out", folder / "out"),
        environment=environment,
    )
    running.wait_for(gate.with_name(f"{gate.name}-waits").exists, "the step")
    running.signal(signal.SIGKILL)
    running.end()
    return folder / "out"


@pytest.mark.faults_long
def test_damaged_files_of_a_training(finished, half, recipe, undisturbed, tmp_path):
    """A damaged checkpoint or plan is refused in one line; a damaged log changes no weight."""
    inputs = ("--proposals", finished.out, "--data", finished.data, "--recipe", recipe, "--threads", 1)
    for number, (name, damage) in enumerate((DAMAGE | PLANS | LOGS).items()):
        out = shutil.copytree(half, tmp_path / f"out{number}")
        damage(out)
        result = invoke("finetune", *inputs, "--validation-masks", 0, "--out", out, "--resume")
        if name in LOGS:
            assert result.code == 0, (name, result)
            assert weights(out) == weights(undisturbed), name
        else:
            assert str(out) in error_line(result), name
            assert not (out / RESULT).exists(), name


@pytest.mark.faults_long
@pytest.mark.parametrize("what", ["loader", "device"])
def test_a_killed_process_of_a_training(finetune, undisturbed, tmp_path, what):
    out = tmp_path / "out"
    gate, environment = held(tmp_path, 4)
    options = ("--loaders", 1) if what == "loader" else ("--devices", 2)
    running = finetune(out, *options, environment=environment)
    running.wait_for(gate.with_name(f"{gate.name}-waits").exists, "the step")
    others = [each for each in running.family() if "spawn_main" in " ".join(each.cmdline())]
    others[-1].kill()
    gate.unlink()
    result = running.end()
    # torch and Lightning print more about several devices.
    error = result.stderr.splitlines()[-1]
    assert (result.code, error.partition(": a process ")[0]) == (2, "error"), result
    assert "was killed" in error
    assert "Traceback" not in result.stderr
    assert_clean(out)
    if what == "loader":
        resume(finetune, out, *options)
        assert weights(out) == weights(undisturbed)


@pytest.mark.faults_long
def test_a_loader_that_hangs(finetune, undisturbed, tmp_path):
    out = tmp_path / "out"
    gate = tmp_path / "gate"
    gate.touch()
    quick = assign(training__training_batches__SILENT_SECONDS=30.0)
    environment = shim(tmp_path, quick, hold(STEP, gate, "args[1].step >= 1"))
    running = finetune(out, "--loaders", 1, environment=environment)
    running.wait_for(gate.with_name("gate-waits").exists, "the step")
    (loader,) = [each for each in running.family() if "spawn_main" in " ".join(each.cmdline())]
    loader.send_signal(signal.SIGSTOP)
    gate.unlink()
    assert "have given no batch for 600 s; try --loaders 0, and run the same command with --resume" in error_line(
        running.end()
    )
    assert_clean(out)
    resume(finetune, out, "--loaders", 1)
    assert weights(out) == weights(undisturbed)


@pytest.mark.faults_long
def test_a_training_in_a_temporary_folder_with_a_long_path(finetune, tmp_path):
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    error = error_line(finetune(tmp_path / "out", "--loaders", 2, environment={"TMPDIR": str(folder)}).end())
    assert "; set TMPDIR to a folder with a shorter path (" in error


@pytest.mark.faults_long
@pytest.mark.parametrize("what", ["folder", "database", "data"])
def test_what_a_training_needs_is_removed(finetune, commands, undisturbed, reference, finished, tmp_path, what):
    out, proposals = tmp_path / "out", shutil.copytree(reference, tmp_path / "proposals")
    data = commands.data = shutil.copytree(finished.data, tmp_path / "data")
    gate, environment = held(tmp_path, 2)
    running = finetune(out, proposals=proposals, environment=environment)
    running.wait_for(gate.with_name(f"{gate.name}-waits").exists, "the step")
    shutil.rmtree({"folder": out, "database": proposals, "data": data}[what])
    gate.unlink()
    result = running.end()
    if result.code or what == "folder":
        error_line(result)
        # The same command as before, when everything is in its place again.
        if not proposals.exists():
            shutil.copytree(reference, proposals)
        if not data.exists():
            shutil.copytree(finished.data, data)
        resume(finetune, out, proposals=proposals)
    # What was read before may be all that is needed.
    assert weights(out) == weights(undisturbed)


@pytest.mark.faults_long
def test_a_database_is_not_changed_by_a_training(finetune, reference, tmp_path):
    proposals = shutil.copytree(reference, tmp_path / "proposals")
    (proposals / "database/sampling.parquet").unlink()
    before = sorted(path for path in proposals.rglob("*"))
    for path in before:
        path.chmod(0o555 if path.is_dir() else 0o444)
    result = finetune(tmp_path / "out", proposals=proposals).end()
    assert result.code == 0, result
    assert sorted(path for path in proposals.rglob("*")) == before
    assert_done(result)
