"""``agg finetune`` and ``agg adapter`` through the command line."""

import csv
import hashlib
import json
import re
import shutil
import signal
import time

import numpy as np
import psutil
import pytest
import torch

from agg_pipeline import load_model
from agg_pipeline.models.checkpoints import (
    default_adapter,
    default_checkpoint,
    load_adapter,
    load_click_model,
    save_click_model,
)
from agg_pipeline.training.training_log import STEP_COLUMNS, VALIDATION_COLUMNS
from schemas.errors import UserError
from tests.e2e.commands import error_of, invoke, start, wait
from tests.training.conftest import write_proposals

QUICK = ("--recipe", "demo", "--batch", "2", "--threads", "1", "--loaders", "0", "--validation-masks", "0")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text('[training]\nepochs = 2\nbatch = 2\nloaders = 0\n[augment]\nsize = 32\nview = "zoom"\n')
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, proposals, data, recipe):
    out = tmp_path_factory.mktemp("trained") / "out"
    done = invoke("finetune", "--proposals", proposals, "--data", data, "--out", out, "--recipe", recipe)
    assert done.code == 0, done
    return out, done.stdout


def test_what_a_training_leaves(trained):
    out, said = trained
    names = {path.name for path in out.iterdir()}
    files = {"adapter.safetensors", "checkpoint.pt", "training.json", "steps.csv", "training.html", "log.txt"}
    assert names == files | {"tensorboard"}
    with (out / "steps.csv").open() as file:
        steps = list(csv.reader(file))
    assert steps[0] == list(STEP_COLUMNS)
    assert [row[0] for row in steps[1:]] == [str(n) for n in range(1, 7)]
    assert list((out / "tensorboard").iterdir())
    assert "folder, all" in (out / "training.html").read_text()
    assert "step 6 of 6, loss" in said
    assert "no validation steps: the split for evaluation, folder all, is trained on" in said


def test_validation_masks_are_predicted_before_and_after(tmp_path):
    runs = tmp_path / "runs"
    few = ("--limit-images", "1", "--input-size", "64", "--workers", "1", "--gallery-images", "0")
    made = invoke("proposals", "annotate", "--dataset", "demo", "--out", runs, *few)
    assert made.code == 0, made
    short = ("--source", "gt", "--epochs", "1", "--validation-masks", "1", "--max-minutes", "0")
    done = invoke("finetune", "--proposals", runs, "--out", tmp_path / "out", *QUICK, *short)
    assert done.code == 0, done
    with (tmp_path / "out" / "validation.csv").open() as file:
        validations = list(csv.reader(file))
    assert validations[0] == list(VALIDATION_COLUMNS)
    assert [(row[0], row[1]) for row in validations[1:]] == [(n, level) for n in "01" for level in ("object", "part")]
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == 2
    assert "validation at step 0, mean IoU after 1 click:\n  granularity   0.1   0.2" in done.stdout
    assert "was made with another model" not in done.stdout
    assert "data:image/webp" in (tmp_path / "out" / "training.html").read_text()


@pytest.mark.parametrize(
    ("words", "minutes"), [((), 2.0), (("--validation-minutes", "7"), 7.0), (("--look-minutes", "7"), 7.0)]
)
def test_time_between_validations_has_a_former_name(proposals, data, recipe, tmp_path, monkeypatch, words, minutes):
    given = []

    def monitor(_out, _masks, _config, minutes):
        given.append(minutes)
        raise UserError("seen")

    monkeypatch.setattr("agg_pipeline.training.training_monitor.Monitor", monitor)
    assert "seen" in error_of(finetuned(proposals, data, recipe, tmp_path / "out", *words))
    assert given == [minutes]


@pytest.mark.parametrize("command", ["finetune", "pretrain"])
def test_help_names_the_time_between_validations_once(command):
    said = invoke(command, "--help").stdout
    assert "--validation-minutes MINUTES" in said
    assert "look-minutes" not in said


def test_granularities_without_masks_are_named(proposals, data, recipe, tmp_path):
    command = ("finetune", "--proposals", proposals, "--data", data, "--out", tmp_path / "out", "--recipe", recipe)
    done = invoke(*command, "--source", "object", "--max-minutes", "0")
    assert done.code == 0, done
    assert (
        "no mask has granularity 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9: the model cannot learn it" in done.stdout
    )


def test_released_and_merged_formats(trained, tmp_path):
    out, _ = trained
    _, info = load_adapter(out / "adapter.safetensors")
    assert "query and value" in error_of(
        invoke("adapter", "export", out / "adapter.safetensors", tmp_path / "no.pth", "--format", "released")
    )
    merged = tmp_path / "merged.safetensors"
    assert invoke("adapter", "export", out / "adapter.safetensors", merged, "--format", "merged").code == 0
    _, described = load_click_model(merged)
    assert (described.granularity, described.input_size) == (True, 32)
    together, one = load_model(adapter=out / "adapter.safetensors"), load_model(merged)
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for granularity in (0.1, 1.0):
        expected = together.predict(image, [(20, 20, True)], granularity)
        np.testing.assert_allclose(one.predict(image, [(20, 20, True)], granularity), expected, atol=1e-4, rtol=0)
    assert info.origin.base_sha256


@pytest.mark.parametrize(
    ("command", "name", "said"),
    [
        (("export", "--format", "merged"), "x.pth", "--format merged writes safetensors; give TARGET the ending"),
        (("export", "--format", "merged"), "x.PTH", "--format merged writes safetensors; give TARGET the ending"),
        (("export", "--format", "merged"), "x.pt", "--format merged writes safetensors; give TARGET the ending"),
        (("export", "--format", "released"), "x.SafeTensors", "--format released writes a file of the authors'"),
        (("import",), "x.pth", "import writes safetensors; give TARGET the ending .safetensors, not "),
    ],
)
def test_no_file_has_the_ending_of_the_other_format(tmp_path, command, name, said):
    done = invoke("adapter", command[0], default_adapter(), tmp_path / name, *command[1:])
    assert error_of(done).startswith(said)
    assert not (tmp_path / name).exists()


def test_files_are_not_replaced_by_the_way(trained, tmp_path):
    source, target = tmp_path / "adapter.safetensors", tmp_path / "merged.safetensors"
    shutil.copy(trained[0] / "adapter.safetensors", source)
    content = source.read_bytes()
    export = ("adapter", "export", source)
    assert "is also the file that is read; name another TARGET" in error_of(
        invoke(*export, source, "--format", "merged", "--overwrite")
    )
    target.write_bytes(b"dear")
    assert "exists; use --overwrite to replace it" in error_of(invoke(*export, target, "--format", "merged"))
    assert "is also the file that is read; name another TARGET" in error_of(invoke("adapter", "import", source, source))
    assert (source.read_bytes(), target.read_bytes()) == (content, b"dear")
    assert invoke(*export, target, "--format", "merged", "--overwrite").code == 0
    load_click_model(target)


def test_released_adapters_are_imported_and_exported(shared, tmp_path):
    source = shared / "checkpoints" / "xtiny448_adapter_qv.pth"
    ours, again = tmp_path / "ours.safetensors", tmp_path / "again.pth"
    assert invoke("adapter", "import", source, ours).code == 0
    assert invoke("adapter", "export", ours, again, "--format", "released").code == 0
    first, second = load_adapter(source)[0].released_state(), load_adapter(again)[0].released_state()
    assert set(first) == set(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--recipe", "none"), "unknown recipe 'none'; possible: demo, paper, study, or"),
        (("--device", "cuda:77"), "'cuda:77' was asked for, but "),
        (("--batch", "3", "--devices", "2"), "--batch 3 cannot be shared equally by 2 devices; give a multiple"),
        (("--data", "sbd:/nowhere"), "names 'sbd', but no proposal database is of that data set"),
        (("--data", "/elsewhere"), "--data is given twice"),
        (("--resume", "--overwrite"), "give one of them"),
        (("--checkpoint", "/dev/null"), "/dev/null is a device"),
        (("--recipe", "/nowhere.toml"), "does not exist"),
        (("--lr", "2"), "'--lr': 2.0 is not in the range 0<=x<=1"),
        (("--lr", "nan"), "nan is not a finite number"),
        (("--device", "tpu"), "'training.device'"),
        (("--checkpoint", "/nowhere.pth"), "does not exist"),
        (("--proposals", "/nowhere"), "is not a proposal database"),
        (("--resume",), "no checkpoint to resume"),
        (("--max-minutes", "nan"), "nan is not a finite number"),
        (("--out", "memory://x"), "is not a folder of this machine"),
        (("--no-granularity", "--order-weight", "1"), "it must be 0 where no granularity is trained"),
        (("--source", "gt"), "--source gt needs masks of kind annotated, and the database holds 9 object"),
    ],
)
def test_bad_input_is_one_line(proposals, data, recipe, tmp_path, options, said):
    before = ("finetune", "--proposals", proposals, "--data", data, "--out", tmp_path / "out", "--recipe", recipe)
    assert said in error_of(invoke(*before, *options))


def test_nothing_is_written_into_a_database(proposals, data, recipe, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(proposals, copy)
    (copy / "database" / "sampling.parquet").unlink()
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    command = ("finetune", "--proposals", copy, "--data", data, "--out", tmp_path / "out", "--recipe", recipe)
    assert invoke(*command).code == 0
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    whole = ("finetune", "--proposals", proposals, "--data", data, "--out", tmp_path / "whole", "--recipe", recipe)
    assert invoke(*whole).code == 0
    ours, theirs = ((tmp_path / name / "adapter.safetensors").read_bytes() for name in ("out", "whole"))
    assert ours == theirs


def test_database_of_another_format_is_refused(proposals, data, recipe, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(proposals, copy)
    plan = copy / "database" / "plan.json"
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"format_version": 99}))
    error = error_of(
        invoke("finetune", "--proposals", copy, "--data", data, "--out", tmp_path / "o", "--recipe", recipe)
    )
    assert "has format 99" in error


def finetuned(proposals, data, recipe, out, *options):
    return invoke("finetune", "--proposals", proposals, "--data", data, "--out", out, "--recipe", recipe, *options)


def test_images_elsewhere_are_named(proposals, recipe, tmp_path):
    assert (
        "images are missing or differ from those that the masks were made for (5 of 5): images/im_0.png does not"
        in error_of(finetuned(proposals, "/nowhere", recipe, tmp_path / "out"))
    )


def test_damaged_databases_are_refused(proposals, data, recipe, tmp_path):
    copy, shard = tmp_path / "copy", "proposals/part-00001.parquet"
    shutil.copytree(proposals, copy)
    (copy / "database" / shard).write_bytes((copy / "database" / shard).read_bytes()[:-9])
    assert f"is damaged: {shard} has" in error_of(finetuned(copy, data, recipe, tmp_path / "out"))
    (copy / "database" / shard).unlink()
    assert f"is damaged: {shard} is missing" in error_of(finetuned(copy, data, recipe, tmp_path / "out"))


def test_unfinished_databases_are_named(proposals, data, recipe, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(proposals, copy)
    (copy / "database" / "shards" / "part-00001.json").unlink()
    done = finetuned(copy, data, recipe, tmp_path / "half", "--max-minutes", "0")
    assert "is limited or unfinished; training uses the 2 finished of 3 shards" in done.stdout
    assert finetuned(proposals, data, recipe, tmp_path / "whole", "--max-minutes", "0").code == 0
    half, whole = (load_adapter(tmp_path / name / "adapter.safetensors")[1].origin for name in ("half", "whole"))
    assert half.proposals != whole.proposals


def test_the_same_database_twice_is_refused(proposals, data, recipe, tmp_path):
    again = finetuned(proposals, data, recipe, tmp_path / "out", "--proposals", proposals)
    assert "--proposals: the same database is given twice" in error_of(again)


def test_a_database_of_another_model_is_named(trained, proposals, data, recipe, tmp_path):
    made = f"{proposals / 'database'} was made with another model, toy (sha256 {'0' * 12}): this training starts from"
    sha256 = hashlib.sha256(default_checkpoint().read_bytes()).hexdigest()[:12]
    advice = "to fine-tune the database's own model, give its file with --checkpoint"
    assert f"{made} the built-in xtiny (sha256 {sha256}); {advice}\n" in trained[1]
    chosen = ("--checkpoint", default_checkpoint())
    done = finetuned(proposals, data, recipe, tmp_path / "out", "--max-minutes", "0", *chosen)
    assert f"{made} {default_checkpoint()} (sha256 {sha256})\n" in done.stdout


@pytest.mark.parametrize("name", ["scale", "zoom", "contrast"])
def test_ranges_turned_round_are_refused(proposals, data, tmp_path, name):
    path = tmp_path / "turned.toml"
    path.write_text(f"[augment]\nmin_{name} = 9.0\n")
    assert f"'augment.min_{name}' is 9.0; it must be at most max_{name}, " in error_of(
        finetuned(proposals, data, path, tmp_path / "out")
    )


def test_what_had_no_checkpoint_yet_starts_again(proposals, data, recipe, tmp_path):
    out = tmp_path / "out"
    process = start(
        *("finetune", "--proposals", proposals, "--data", data, "--out", out, "--recipe", recipe, "--epochs", "10000")
    )
    wait_for_steps(out, process)
    process.send_signal(signal.SIGINT)
    stopped = wait(process)
    assert stopped.code == 130
    assert "stopped; there was no checkpoint yet; run the same command to start again" in stopped.stderr
    assert finetuned(proposals, data, recipe, out).code == 0
    with (out / "steps.csv").open() as file:
        assert len(list(csv.reader(file))) == 7


def test_second_training_in_a_folder_is_refused(trained, proposals, data, recipe):
    out, _ = trained
    error = error_of(invoke("finetune", "--proposals", proposals, "--data", data, "--out", out, "--recipe", recipe))
    assert "holds a training" in error


def test_a_training_that_goes_on_owns_its_folder(proposals, data, recipe, tmp_path):
    out = tmp_path / "out"
    command = ("finetune", "--proposals", proposals, "--data", data, "--out", out, "--recipe", recipe)
    process = start(*command, "--epochs", "10000")
    wait_for_steps(out, process)
    for how in ((), ("--overwrite",), ("--resume",)):
        error = error_of(finetuned(proposals, data, recipe, out, *how))
        assert f"is being written by another run (process {process.pid}" in error
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert finetuned(proposals, data, recipe, out, "--overwrite").code == 0
    assert not (out / "lock.json").exists()


@pytest.mark.parametrize("options", [("--device", "cuda:77"), ("--batch", "3", "--devices", "2"), ("--resume",)])
def test_what_cannot_be_done_deletes_nothing(trained, proposals, data, recipe, tmp_path, options):
    out = shutil.copytree(trained[0], tmp_path / "out")
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    error_of(finetuned(proposals, data, recipe, out, "--overwrite", *options))
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_resuming_a_finished_training_adds_nothing(tmp_path):
    runs, out = tmp_path / "runs", tmp_path / "out"
    few = ("--limit-images", "1", "--input-size", "64", "--workers", "1", "--gallery-images", "0")
    assert invoke("proposals", "run", "--dataset", "demo", "--out", runs, *few).code == 0
    command = ("finetune", "--proposals", runs, "--out", out, *QUICK, "--epochs", "1", "--validation-masks", "1")
    assert invoke(*command).code == 0
    validations, steps = ((out / name).read_text() for name in ("validation.csv", "steps.csv"))
    # As when the power went while a row was written.
    (out / "steps.csv").write_text(steps + "1,1,")
    assert invoke(*command, "--resume").code == 0
    assert ((out / "validation.csv").read_text(), (out / "steps.csv").read_text()) == (validations, steps)
    # As when it was killed before its last validation step.
    (out / "validation.csv").write_text("".join(validations.splitlines(keepends=True)[:3]))
    assert invoke(*command, "--resume").code == 0
    assert (out / "validation.csv").read_text() == validations


@pytest.mark.parametrize("options", [("--source", "gt+agg"), ("--sampling", "global"), ("--precision", "bf16-mixed")])
def test_other_ways_of_training(proposals, data, recipe, tmp_path, options):
    both = ()
    if "gt+agg" in options:
        few = ("--limit-images", "1", "--input-size", "64", "--workers", "1", "--gallery-images", "0")
        parts = tmp_path / "parts"
        assert invoke("proposals", "annotate", "--dataset", "demo", "--out", parts, *few).code == 0
        both = ("--proposals", parts, "--data", f"folder:{data}")
    root = () if both else ("--data", data)
    command = ("finetune", "--proposals", proposals, *root, *both, "--out", tmp_path / "out", "--recipe", recipe)
    done = invoke(*command, "--validation-masks", "0", *options)
    assert done.code == 0, done
    adapter, _ = load_adapter(tmp_path / "out" / "adapter.safetensors")
    assert all(bool(factor.any()) for factor in adapter.lora_B)


def wait_for_steps(out, process):
    deadline = time.monotonic() + 100
    while not (out / "steps.csv").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no step was made"
        time.sleep(0.1)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL])
def test_no_process_outlives_a_killed_training(proposals, data, recipe, tmp_path, number):
    out = tmp_path / "out"
    command = ("finetune", "--proposals", proposals, "--data", data, "--out", out, "--recipe", recipe)
    # As in the background of a script, where Ctrl-C is ignored: the signal that torch sends to its processes is, too.
    ignoring = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    process = start(*command, "--epochs", "10000", "--devices", "2", "--batch", "2", **ignoring)
    wait_for_steps(out, process)
    others = psutil.Process(process.pid).children(recursive=True)
    assert len(others) >= 2
    process.send_signal(number)
    process.wait(60)
    _, alive = psutil.wait_procs(others, timeout=60)
    assert not alive


def test_killed_loader_is_one_line(proposals, data, recipe, tmp_path):
    out = tmp_path / "out"
    command = ("finetune", "--proposals", proposals, "--data", data, "--out", out, "--recipe", recipe)
    process = start(*command, "--epochs", "10000", "--loaders", "1")
    wait_for_steps(out, process)
    for each in psutil.Process(process.pid).children():
        if "spawn_main" in " ".join(each.cmdline()):
            each.kill()
    assert "a process that prepares samples was killed" in error_of(wait(process))


@pytest.mark.parametrize("devices", ["1", pytest.param("2", marks=pytest.mark.long)])
def test_divergence_is_one_line(proposals, data, recipe, tmp_path, devices):
    network, _ = load_click_model(default_checkpoint())
    with torch.no_grad():
        network.backbone.blocks[0].attn.qkv.weight[:] = 3e38
    save_click_model(tmp_path / "broken.safetensors", network, half=False)
    command = ("finetune", "--proposals", proposals, "--data", data, "--out", tmp_path / "out", "--recipe", recipe)
    done = wait(start(*command, "--checkpoint", tmp_path / "broken.safetensors", "--devices", devices))
    last = done.stderr.splitlines()[-1]
    assert done.code == 2
    assert re.match(r"error: the loss is nan at step [12]; there is no checkpoint yet", last)
    assert "Traceback" not in done.stderr


def test_two_data_sets_of_one_layout(proposals, data, recipe, tmp_path):
    """Images of the same ids in two folders, which are named apart."""
    other, root = tmp_path / "other", tmp_path / "root"
    shutil.copytree(data, root)
    for path in (root / "images").iterdir():
        path.write_bytes(path.read_bytes() + b"\0")
    (root / "dataset.toml").write_text('name = "Second"\nlicence = "CC0"\n')
    write_proposals(other, root)
    command = ("finetune", "--proposals", proposals, "--proposals", other, "--recipe", recipe, "--dry-run")
    said = error_of(invoke(*command, "--data", f"folder:{data}", "--data", f"Scond:{root}", "--out", tmp_path / "out"))
    assert "--data names 'Scond', but no proposal database is of that data set; did you mean 'Second'?" in said
    said = error_of(invoke(*command, "--data", data, "--out", tmp_path / "out"))
    assert "another sha256 than in the database" in said
    done = invoke(*command, "--data", f"folder:{data}", "--data", f"Second:{root}", "--out", tmp_path / "out")
    assert done.code == 0, done
