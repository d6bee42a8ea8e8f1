"""The benchmark of a GPU, in miniature on the CPU."""

import json
import sys
from pathlib import Path
from threading import BrokenBarrierError

import pytest
from click.testing import CliRunner

from agg_pipeline.datasets.registry import open_dataset
from agg_pipeline.execution.chain import run_stages
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.inference.predictor import Predictor
from agg_pipeline.models.checkpoints import default_checkpoint, load_click_model
from agg_pipeline.proposals.pipeline import chain
from benchmarks import bench_gpu
from benchmarks.bench_gpu import PARTS, Report, Table, main
from benchmarks.gpu.busy import busy_share
from benchmarks.gpu.scenes import CostlyNetwork, proposals, scenes
from benchmarks.gpu.workers import Turn
from schemas.presets import PRESETS
from schemas.resolve import override

SIZE = 64


def test_its_masks_are_those_of_a_run():
    config = override(PRESETS["paper"], {"batch": {"batch_objects": 3}})
    dataset = open_dataset("demo", "", "2")
    network, _ = load_click_model(default_checkpoint(), SIZE)
    task = ShardTask(0, dataset.name, dataset.entries, dataset.read, config)
    expected = run_stages(chain(config).stages, task, Predictor(network, config.predictor)).estimates
    model = Predictor(CostlyNetwork("xtiny", SIZE, "cpu"), config.predictor)
    found = proposals(scenes(range(2)), model, config)
    assert len(found) == len(expected) > 10
    for one, other in zip(found, expected, strict=True):
        assert (one.query.target.key, one.query.kind) == (other.query.target.key, other.query.kind)
        assert one.mask.box == other.mask.box
        assert (one.mask.values == other.mask.values).all()
        assert one.granularity == other.granularity


def test_files_grow_with_each_table(tmp_path):
    report = Report(tmp_path / "x", "a card", 8.0)
    report.add(Table("First", ("name", "speed"), [["one", 1.23456], ["two", None]]))
    report.note("left out: the rest")
    report.add(Table("Second", ("n",), [[3]]))
    assert (tmp_path / "x/results.md").read_text() == (
        "# a card\n\nleft out: the rest\n\n"
        "## First\n\n| name | speed |\n| --- | --- |\n| one | 1.235 |\n| two |  |\n\n"
        "## Second\n\n| n |\n| --- |\n| 3 |\n"
    )
    content = json.loads((tmp_path / "x/results.json").read_text())
    assert content["First"] == [{"name": "one", "speed": 1.23456}, {"name": "two", "speed": None}]


def test_an_arrangement_that_fails_costs_no_other(monkeypatch, tmp_path):
    def broken(workers, load):
        if workers == 2:
            raise BrokenBarrierError
        return Turn(workers, load, 1.0, 2.0, None, 0.5, {})

    monkeypatch.setattr(bench_gpu, "turn", broken)
    report = Report(tmp_path / "x", "a card", 8.0)
    bench_gpu.making(report, True)
    content = json.loads((tmp_path / "x/results.json").read_text())
    assert [row["workers"] for row in content["Proposals of generated scenes, xtiny at 224"]] == [1]
    assert content["notes"] == ["failed: float32 with 2 workers and 16 objects a batch (BrokenBarrierError())"]


@pytest.mark.parametrize(("said", "share"), [(["10", "30", "[N/A]", "80"], 0.4), ([], None)])
def test_the_share_of_the_time_is_that_of_the_driver(monkeypatch, tmp_path, said, share):
    program = tmp_path / "nvidia-smi"
    lines = [f"print({line!r}, flush=True)" for line in said]
    ready = f"pathlib.Path({str(tmp_path / 'said')!r}).touch()"
    script = [f"#!{sys.executable}", "import pathlib, time", *lines, ready, "time.sleep(60)"]
    program.write_text("\n".join(script))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with busy_share() as found:
        while not (tmp_path / "said").exists():
            pass
    assert found() == share


def test_without_a_driver_the_share_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with busy_share() as found:
        pass
    assert found() is None


@pytest.mark.long
def test_all_parts_in_miniature(tmp_path):
    done = CliRunner().invoke(main, ["--out", str(tmp_path / "x")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    tables = json.loads((tmp_path / "x/results.json").read_text())
    assert len(tables) == 3 + 8
    assert len(PARTS) == 5
    same = tables["The same masks from more workers, float32"]
    assert [row["share of the first row's that are the same"] for row in same] == [1.0, 1.0]
    assert not tables["notes"]
    assert Path(tmp_path / "x/results.md").read_text().count("\n## ") == 8
