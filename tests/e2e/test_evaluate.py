"""``agg eval`` through the command line, with the real torch model: results, kills, modes, and bad input."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from agg_pipeline.execution.parquet_files import parquet_bytes, read_table
from agg_pipeline.execution.shard_files import checksum, file_facts
from agg_pipeline.models.adapter import Adapter
from agg_pipeline.models.checkpoints import (
    default_adapter,
    default_checkpoint,
    load_click_model,
    save_adapter,
    save_click_model,
)
from agg_pipeline.storage.store import Store
from schemas.tables import CLICKS
from tests.e2e.commands import ENVIRONMENT, error_of, invoke
from tests.e2e.faults import EVALUATION_STAGES
from tests.e2e.small_set import labels, pixels, write_set
from tests.e2e.test_same_bytes import FAULTS, finish, kill_all, wait_for
from tests.execution.test_shard_files import edit_sidecar

COLUMNS = ["target_id", "image_id", "instance_id", "level", "category", "label", "granularity", "click", "iou", "row"]
COLUMNS += ["col", "positive", "chosen"]
TABLES = ("objects", "targets", "masks", "rejects")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("data") / "sbd")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """An adapter of the built-in model that changes something: with random vectors, and an update that is not zero."""
    made = Adapter(160, 8)
    made.initialise(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for factor in made.lora_B:
            factor.normal_(std=0.5, generator=torch.Generator().manual_seed(1))
    path = tmp_path_factory.mktemp("adapter") / "adapter.safetensors"
    save_adapter(path, made)
    return path


@pytest.fixture(scope="module")
def command(data, adapter):
    """The arguments of a short evaluation in optimal mode."""
    return (
        *("eval", "run", "--dataset", "sbd", "--data", data, "--split", "train", "--input-size", "64"),
        *("--adapter", adapter, "--granularity", "optimal", "--max-clicks", "3", "--images-per-shard", "1"),
    )


def start(command, out, orders=None, *options):
    environment = os.environ | ENVIRONMENT
    if orders is not None:
        environment |= {"FAULTS": str(orders), "DASK_DISTRIBUTED__WORKER__PRELOAD": json.dumps([str(FAULTS)])}
    return subprocess.Popen(
        [sys.executable, "-m", "agg_pipeline.cli", *map(str, command), "--out", str(out), *map(str, options)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def results(out):
    """What must not depend on how the run went."""
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in (*files(), "summary.json")}


def files():
    return [f"{name}.parquet" for name in TABLES]


def rows(out, name="objects"):
    return pq.read_table(out / f"{name}.parquet", use_threads=False).to_pylist()


@pytest.fixture(scope="module")
def one_worker(command, tmp_path_factory):
    out = tmp_path_factory.mktemp("one")
    output = finish(start(command, out, None, "--workers", "1"))
    return out, output


def test_results_folder(one_worker):
    out, output = one_worker
    assert {path.name for path in out.iterdir()} == {
        *files(),
        "summary.json",
        "timings.json",
        "report.html",
        "run",
        "log.txt",
    }
    assert pq.read_schema(out / "objects.parquet").names[: len(COLUMNS)] == COLUMNS
    clicks = rows(out)
    assert len({row["target_id"] for row in clicks}) == 8
    assert {row["granularity"] for row in clicks} == {n / 10 for n in range(1, 11)}
    first = [row for row in clicks if row["click"] == 1]
    assert len(first) == 80
    assert sum(row["chosen"] for row in first) == 8
    assert len({(row["row"], row["col"]) for row in first if row["target_id"] == first[0]["target_id"]}) == 1
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["masks"], summary["images"]) == (8, 4)
    assert summary["granularity_chosen_by"] == "ground truth"
    assert "chosen by the ground truth" in output
    assert "NoC@90 3.00 (8 objects)" in output
    assert "one click takes" in output
    assert "one click takes" in (out / "log.txt").read_text()
    latency = json.loads((out / "timings.json").read_text())["latency"]
    assert 0 < latency["median"] <= latency["p95"]
    page = (out / "report.html").read_text()
    assert "Spearman" in page
    assert "(4 images)" in page
    assert "(4 images)" in output
    assert "http" not in page.replace("http://www.w3.org", "")


@pytest.mark.faults_long
def test_two_workers_killed_in_every_stage_give_the_same_results(command, one_worker, tmp_path):
    orders = tmp_path / "orders"
    orders.mkdir()
    for stage in EVALUATION_STAGES:
        (orders / f"kill-{stage}").touch()
    out = tmp_path / "out"
    finish(start(command, out, orders, "--workers", "2"))
    assert sorted(path.name for path in orders.iterdir()) == sorted(f"killed-{stage}" for stage in EVALUATION_STAGES)
    assert results(out) == results(one_worker[0])


def test_a_shard_that_two_workers_share_gives_the_same_results(command, one_worker, tmp_path):
    options = ("--images-per-shard", "4", "--workers", "2")
    output = finish(start(command, tmp_path, None, *options))
    assert "4 images to do with 2 workers" in output
    assert "4 of 4 images in" in output
    tables = {name: digest for name, digest in results(one_worker[0]).items() if name != "summary.json"}
    assert {name: results(tmp_path)[name] for name in tables} == tables
    assert len(list((tmp_path / "run" / "shards").iterdir())) == 1


@pytest.mark.faults_long
def test_an_extended_killed_and_resumed_run_gives_the_same_results(command, one_worker, tmp_path):
    orders = tmp_path / "orders"
    orders.mkdir()
    out = tmp_path / "out"
    sidecars = out / "run" / "shards"
    finish(start(command, out, None, "--limit-objects", "1", "--workers", "1"))
    first = rows(one_worker[0], "targets")[0]["target_id"]
    assert rows(out) == [row for row in rows(one_worker[0]) if row["target_id"] == first]
    (orders / "stall-write").touch()
    process = start(command, out, orders, "--workers", "1")
    wait_for((orders / "stalled-write").exists, process, "a worker in the middle of a write")
    kill_all(process)
    assert len(list(sidecars.iterdir())) < 4
    assert not (out / "summary.json").exists()
    finish(start(command, out, None, "--workers", "2"))
    assert results(out) == results(one_worker[0])


def test_a_shard_with_impossible_rows_is_one_line(command, one_worker, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(one_worker[0], out)
    store, path = Store(str(out / "run")), "objects/part-00001.parquet"
    table = read_table(store, path, CLICKS)
    table = table.set_column(CLICKS.get_field_index("iou"), CLICKS.field("iou"), pa.array([5.0] * len(table)))
    content = parquet_bytes(table)
    store.write(path, content)
    edit_sidecar(
        store, 1, files=store.read_json("shards/part-00001.json")["files"] | {path: file_facts(table, content)}
    )
    error = error_of(invoke(*command, "--out", out))
    assert error == (
        f"the shards in {out}/run are damaged (together, objects.parquet has the iou 5.0; it must be from 0 to 1); run "
        "the command that made it again with --verify, which makes damaged shards again"
    )


def test_summary_names_its_tables_with_their_checksums(one_worker):
    summary = json.loads((one_worker[0] / "summary.json").read_text())
    assert summary["checksum"] == checksum(summary)
    assert {path: facts["sha256"] for path, facts in summary["files"].items()} == {
        name: digest for name, digest in results(one_worker[0]).items() if name != "summary.json"
    }
    assert summary["files"]["targets.parquet"]["rows"] == 8


def test_what_is_finished_may_be_more_than_what_is_asked_for(command, one_worker, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(one_worker[0], out)
    written = {path: path.stat().st_mtime_ns for path in (out / "run").rglob("*.parquet")}
    output = invoke(*command, "--out", out, "--limit-images", "2", "--limit-objects", "3").stdout
    assert "finished already: 2 of 2 images" in output
    assert "one click takes" in output
    assert {path: path.stat().st_mtime_ns for path in (out / "run").rglob("*.parquet")} == written
    whole = rows(one_worker[0])
    wanted = list(dict.fromkeys(row["target_id"] for row in whole))[:3]
    assert rows(out) == [row for row in whole if row["target_id"] in wanted]
    assert invoke(*command, "--out", out).code == 0
    assert results(out) == results(one_worker[0])


@pytest.fixture(scope="module")
def base(command, tmp_path_factory):
    """Results without granularity, and of the best of three first clicks."""
    folder = tmp_path_factory.mktemp("base")
    plain = [each for each in command if each not in ("--granularity", "optimal")]
    processes = [
        start(plain, folder / "none", None, "--workers", "1"),
        start(plain, folder / "best", None, "--workers", "1", "--best-of", "3", "--level", "object"),
    ]
    for process in processes:
        finish(process)
    return folder


def test_best_of_is_a_control_without_granularity(base):
    best = rows(base / "best")
    assert {row["granularity"] for row in best} == {None}
    first = [row for row in best if row["click"] == 1]
    assert [row["attempt"] for row in first[:3]] == [0, 1, 2]
    assert len({(row["row"], row["col"]) for row in first[:3]}) > 1
    assert all(row["positive"] for row in first)


def test_sampled_run_records_what_it_cannot_use(spoilt, tmp_path):
    short = ("eval", "run", "--dataset", "grabcut", "--data", spoilt, "--input-size", "64", "--max-clicks", "1")
    output = finish(start((*short, "--sample", "1"), tmp_path, None, "--workers", "1"), code=2)
    assert "33.3% of the images could not be used" in output
    assert len(rows(tmp_path, "targets")) == 1


def test_compare(base, one_worker):
    done = invoke("eval", "compare", base / "none", base / "best", one_worker[0], "--with-published")
    assert done.code == 0
    assert "objects of sbd, 8 masks" in done.stdout
    assert "best - none" in done.stdout
    assert "published, Table 1: SimpleClick, ViT-B" in done.stdout
    assert "3.28" in done.stdout
    written = invoke("eval", "compare", base / "none", base / "best", "--format", "latex").stdout
    assert written.count(r"\\") == 4
    assert invoke("eval", "compare", base / "none", "--format", "markdown").stdout.startswith("**objects of sbd")


def test_compare_refuses_other_masks(base, command, tmp_path):
    part = tmp_path / "part"
    finish(start(command, part, None, "--limit-objects", "3", "--workers", "1"))
    error = error_of(invoke("eval", "compare", base / "none", part))
    assert "not of the same masks" in error
    assert "--intersect" in error
    assert "3 masks" in invoke("eval", "compare", base / "none", part, "--intersect").stdout


def test_compare_refuses_what_is_no_result(base, tmp_path):
    assert "is not a folder of results" in error_of(invoke("eval", "compare", tmp_path))
    broken = tmp_path / "broken"
    shutil.copytree(base / "none", broken)
    (broken / "objects.parquet").write_bytes(b"junk")
    assert "objects.parquet cannot be read" in error_of(invoke("eval", "compare", broken))
    (broken / "summary.json").write_text('{"format_version": 99}')
    assert "format" in error_of(invoke("eval", "compare", broken))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--granularity", "0.5", "--adapter", ""), "has no granularity table"),
        (("--adapter", "", "--curves", "--granularity", "optimal"), "has no granularity table"),
        (("--granularity", "1.5"), "1.5 is not from 0 to 1"),
        (("--granularity", "fine"), "'fine' is neither a number nor one of the words; possible: none"),
        (("--granularity", "0.5", "--curves"), "leave --granularity out"),
        (("--best-of", "3"), "--best-of runs without granularity"),
        (("--granularity", "0.5", "--carry-roi"), "several interactions"),
        (("--curves", "--granularity", "optimal", "--early-stop"), "leave --early-stop out"),
        (("--sample", "2", "--limit-images", "2"), "leave --limit-images out"),
        (("--out", "{file}"), "is a file"),
        (("--out", "{foreign}"), "holds report.html, which no evaluation has written"),
        (("--config", "{curves}"), "'clicks.early_stop' is true; it must be false"),
        (("--config", "{fixed}", "--granularity", "none"), "'granularity' is 0.3; it has no effect"),
        (("--level", "part"), "no masks for --level part; possible: object"),
        (("--class", "unicorn"), "no class 'unicorn'"),
        (("--class", "horse"), "no mask to evaluate"),
        (("--seed", "-1"), "'--seed': -1 is not in the range x>=0"),
        (("--threshold", "2"), "'--threshold': 2.0 is not in the range 0<=x<=1"),
        (("--threshold", "nan"), "nan is not a finite number"),
        (("--max-clicks", "0"), "max-clicks"),
        (("--split", "nowhere"), "nowhere"),
        (("--device", "cuda:99"), "cuda:99"),
        (("--checkpoint", "/nowhere.pth"), "does not exist"),
    ],
)
def test_bad_input_is_one_line(command, tmp_path, options, said):
    places = {name: tmp_path / name for name in ("file", "foreign", "curves", "fixed")}
    places["file"].touch()
    places["foreign"].mkdir()
    (places["foreign"] / "report.html").touch()
    places["curves"].write_text('mode = "curves"')
    places["fixed"].write_text("granularity = 0.3")
    filled = [option.format(**places) for option in options]
    before = [each for each in command if "--config" not in filled or each not in ("--granularity", "optimal")]
    assert said in error_of(invoke(*before, "--out", tmp_path / "out", "--workers", "1", *filled))


def test_results_of_another_configuration_are_refused(command, one_worker):
    before = results(one_worker[0])
    error = error_of(invoke(*command, "--out", one_worker[0], "--max-clicks", "4"))
    assert "config.clicks.max_clicks: 3 -> 4" in error
    assert "--overwrite" in error
    assert results(one_worker[0]) == before


def test_adapter_of_another_model_is_refused(command, tmp_path):
    other = tmp_path / "other.safetensors"
    save_adapter(other, Adapter(192, 8))
    assert "width 192" in error_of(invoke(*command, "--out", tmp_path / "out", "--adapter", other))


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """In GrabCut's layout: a mask that is ignored in part, one of which all is ignored, and a broken image."""
    root = tmp_path_factory.mktemp("spoilt")
    for folder in ("data_GT", "boundary_GT"):
        (root / folder).mkdir(parents=True)
    for name, ignored in (("all", 60), ("broken", 0), ("half", 20)):
        instances = labels()
        Image.fromarray(pixels(instances)).save(root / "data_GT" / f"{name}.jpg")
        mask = np.where(instances == 1, 255, 0).astype(np.uint8)
        mask[:ignored][mask[:ignored] > 0] = 128
        Image.fromarray(mask).save(root / "boundary_GT" / f"{name}.png")
    (root / "data_GT" / "broken.jpg").write_bytes(b"junk")
    return root


def test_what_cannot_be_evaluated_is_left_out_and_said_so(spoilt, tmp_path):
    short = ("eval", "run", "--dataset", "grabcut", "--data", spoilt, "--input-size", "64", "--max-clicks", "2")
    output = finish(start(short, tmp_path, None, "--workers", "1"), code=2)
    assert "33.3% of the images could not be used" in output
    assert [row["image_id"] for row in rows(tmp_path, "targets")] == ["half"]
    reasons = {row["image_id"]: row["reason"] for row in rows(tmp_path, "rejects")}
    assert reasons == {"all": "all_ignored", "broken": "unreadable_image"}
    assert "1 mask left out: every pixel of the mask" in output
    assert "1 image left out" in output
    assert (tmp_path / "report.html").exists()


def test_nothing_to_evaluate(spoilt, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(spoilt, root)
    for path in ("data_GT/half.jpg", "boundary_GT/half.png", "data_GT/broken.jpg", "boundary_GT/broken.png"):
        (root / path).unlink()
    short = ("eval", "run", "--dataset", "grabcut", "--data", root, "--input-size", "64", "--sample", "1")
    error = error_of(invoke(*short, "--out", tmp_path / "out"))
    assert error == ("grabcut all has no mask to evaluate: 1 x every pixel of the mask is ignored (for example all)")


def test_the_built_in_adapter_is_that_of_the_built_in_model(data, tmp_path):
    where = ("eval", "adapted", "--dataset", "sbd", "--data", data, "--split", "train", "--out", tmp_path / "out")
    few = ("--limit-images", "1", "--max-clicks", "1", "--workers", "1", "--only", "whole", "--pictures", "0")
    save_click_model(tmp_path / "other.safetensors", load_click_model(default_checkpoint())[0], half=False)
    other = ("--checkpoint", tmp_path / "other.safetensors", "--only", "base")
    assert "was trained on another model" in error_of(invoke(*where, *few, *other)), "although base comes without it"
    assert "--adapter is empty" in error_of(invoke(*where, *few, "--adapter", ""))
    assert invoke(*where, *few).code == 0
    plan = json.loads((tmp_path / "out" / "whole" / "run" / "plan.json").read_text())
    assert plan["model"]["adapter"]["sha256"] == hashlib.sha256(default_adapter().read_bytes()).hexdigest()


def test_adapted_model_beside_its_base(adapter, data, tmp_path):
    few = ("--input-size", "64", "--max-clicks", "1", "--limit-images", "1", "--workers", "1", "--pictures", "0")
    where = ("--dataset", "sbd", "--data", data, "--split", "train", "--adapter", adapter, "--out", tmp_path / "out")
    done = invoke("eval", "adapted", *where, *few, "--only", "base", "--only", "whole")
    assert done.code == 0, done
    assert "whole - base" in done.stdout
    assert "whole - base" in (tmp_path / "out" / "comparison.md").read_text()
    assert {row["granularity"] for row in rows(tmp_path / "out" / "whole")} == {1.0}
    assert {row["granularity"] for row in rows(tmp_path / "out" / "base")} == {None}
    assert "by-class evaluates parts" in error_of(invoke("eval", "adapted", *where, "--only", "by-class"))


def test_granularity_by_class_is_left_out_where_there_are_no_other_images(tmp_path):
    few = ("--limit-images", "1", "--max-clicks", "1", "--input-size", "64", "--workers", "1", "--pictures", "0")
    where = ("eval", "adapted", "--split", "train", "--out", tmp_path / "out", *few)
    said = "by-class needs other images: split train is evaluated"
    assert said in error_of(invoke(*where, "--only", "by-class"))
    assert said in error_of(invoke(*where, "--calibrate-split", "train"))
    done = invoke(*where)
    assert done.code == 0, done
    assert "by-class is left out, because it needs other images: split train is evaluated" in done.stdout
    assert "adapter built-in, sha256" in done.stdout
    assert (tmp_path / "out" / "whole" / "summary.json").exists()
    assert not (tmp_path / "out" / "by-class").exists()


def test_the_built_in_adapter_by_its_name(tmp_path):
    few = ("--split", "2", "--sample", "1", "--max-clicks", "1", "--workers", "1", "--pictures", "0")
    done = invoke("eval", "run", *few, "--adapter", "built-in", "--granularity", "0.4", "--out", tmp_path / "out")
    assert done.code == 0, done
    assert {row["granularity"] for row in rows(tmp_path / "out")} == {0.4}
