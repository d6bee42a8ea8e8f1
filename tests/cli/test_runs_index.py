"""``runs/index.html``: which runs it lists, with which facts and links."""

import json
import os
import re
import subprocess
import sys

import pytest

from agg_pipeline.cli.runs_index import closing_line, find_runs, runs_folder, update_index
from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.manifest import finish
from agg_pipeline.execution.shard_files import PLAN, sidecars
from agg_pipeline.report.index_page import write_index
from agg_pipeline.storage.store import Store
from agg_pipeline.training.training_log import append
from schemas.config import EvaluationConfig
from schemas.resolve import override
from schemas.training import FinetuneConfig, PretrainConfig
from schemas.words import plural
from tests.evaluation.conftest import write_results
from tests.toy_run import write_database


def write_text(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def runs(tmp_path, toy_plan, toy_shards):
    """A folder with one run of each kind, and files that are none."""
    root = tmp_path / "runs"
    made = Store(str(root / "toy" / "proposals" / "database"))
    write_database(made, toy_plan, toy_shards)
    finish(made, toy_plan, sidecars(made, DATABASE_LAYOUT))
    write_text(root / "toy" / "proposals" / "report" / "gallery.html")
    Store(str(root / "toy" / "begun" / "database")).write_json(PLAN, toy_plan)
    write_results(str(root / "toy" / "eval"), "base", EvaluationConfig())
    write_text(root / "toy" / "eval" / "log.txt")
    for arm, mode in (("base", "none"), ("optimal", "optimal")):
        write_results(str(root / "toy" / "eval-built-in" / arm), arm, override(EvaluationConfig(), {"mode": mode}))
        write_text(root / "toy" / "eval-built-in" / arm / "report.html")
    write_text(root / "toy" / "eval-built-in" / "comparison.md")
    write_text(root / "toy" / "eval-built-in" / "comparison.html")
    for name, config in (("finetune", FinetuneConfig()), ("pretrain", PretrainConfig())):
        content = {"identity": {}, "config": {"recipe": config.recipe} | ({"lora": True} if name == "finetune" else {})}
        write_text(root / "toy" / name / "training.json", json.dumps(content))
    append(root / "toy" / "finetune" / "steps.csv", (69, 1, 0.5, 5e-5, 1, 0))
    append(root / "toy" / "finetune" / "steps.csv", (70, 1, 0.123456, 5e-5, 1, 0))
    with (root / "toy" / "finetune" / "steps.csv").open("a") as file:
        file.write("71,1,0.9")
    write_text(root / "toy" / "finetune" / "adapter.safetensors")
    write_text(root / "toy" / "finetune" / "training.html")
    steps = {name: {"arguments": [], "finished": name == "a", "seconds": 1.0} for name in ("a", "b")}
    write_text(root / "demo" / "study-small" / "steps.json", json.dumps({"facts": {}, "steps": steps}))
    write_results(str(root / "demo" / "study-small" / "evaluated"), "base", EvaluationConfig())
    write_text(root / "demo" / "study-small.md")
    write_text(root / "notes" / "summary.json", "{")
    return root


@pytest.mark.parametrize("page", ["comparison.html", "difference.html"])
def test_pages_about_other_runs_are_listed(tmp_path, page):
    write_text(tmp_path / "runs" / "both" / page, "<p>")
    (entry,) = find_runs(tmp_path / "runs")
    kind = page.removesuffix(".html")
    assert (entry.folder, entry.kind, entry.pages) == ("both", kind, ((kind, page),))


def test_every_run_is_listed_with_its_facts(runs):
    found = {entry.folder: entry for entry in find_runs(runs)}
    assert list(found) == [
        "demo/study-small",
        "notes",
        *(f"toy/{name}" for name in ("begun", "eval", "eval-built-in", "finetune", "pretrain", "proposals")),
    ]
    proposals = found["toy/proposals"]
    assert (proposals.kind, proposals.data, proposals.model) == ("proposals", "toy, val", "toy at 32")
    manifest = json.loads((runs / "toy" / "proposals" / "database" / "manifest.json").read_text())
    totals = manifest["totals"]
    masks = totals["proposals"]["part"] + totals["proposals"]["complement"]
    assert masks > 0
    assert proposals.figures == (f"{totals['images']} images, {totals['objects']} objects, {masks} proposals",)
    assert proposals.pages == (("gallery", "report/gallery.html"),)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", proposals.date)
    assert found["toy/begun"].figures == ("not finished",)
    assert found["toy/begun"].date == ""
    summary = json.loads((runs / "toy" / "eval" / "summary.json").read_text())
    evaluation = found["toy/eval"]
    assert evaluation.figures[0] == "granularity: none"
    lines = dict(zip(summary["levels"], evaluation.figures[1:], strict=True))
    for level, line in lines.items():
        figures = summary["levels"][level]["all"]
        highest = sorted(figures["noc"])[-1]
        assert line == (
            f"{plural(figures['masks'], level)}: NoC@{highest[2:]} {figures['noc'][highest]['mean']:.2f}, "
            f"IoU@1 {figures['iou']['1']['mean']:.3f}"
        )
    assert evaluation.pages == (("log", "log.txt"),)
    comparison = found["toy/eval-built-in"]
    assert comparison.kind == "comparison"
    assert all(line.startswith("optimal: ") for line in comparison.figures)
    assert [text for text, _ in comparison.pages] == ["comparison", "tables", "base", "optimal"]
    finetune, pretrain = found["toy/finetune"], found["toy/pretrain"]
    assert (finetune.kind, finetune.figures) == ("fine-tuning", ("recipe paper", "70 steps, last loss 0.123"))
    assert finetune.date
    assert (pretrain.kind, pretrain.figures, pretrain.date) == ("pre-training", ("recipe small-sets",), "")
    study = found["demo/study-small"]
    assert (study.figures, study.date) == (("finished steps: 1",), "")
    assert study.pages == (("report", "../study-small.md"),)
    assert found["notes"].figures == ("summary.json cannot be read",)


def test_the_page_links_what_is_there(runs):
    (runs / "toy" / "finetune").rename(runs / "toy" / 'fine "tune" & more')
    page = update_index(runs).read_text()
    assert page.startswith("<!doctype html>")
    links = re.findall(r'<a href="([^"#]*)"', page)
    assert "toy/proposals/report/gallery.html" in links
    assert "toy/fine%20%22tune%22%20%26%20more/training.html" in links
    assert "fine &#34;tune&#34; &amp; more" in page
    assert "demo/study-small/../study-small.md" in links
    for link in links:
        assert (runs / re.sub("%(..)", lambda code: chr(int(code[1], 16)), link)).exists(), link


def test_the_last_line_names_the_page_and_the_index(runs):
    line = closing_line(str(runs / "toy" / "eval"), "runs/toy/eval/report.html")
    assert line == f"open runs/toy/eval/report.html (all runs: {runs / 'index.html'})"
    assert "toy/eval" in (runs / "index.html").read_text()


def test_output_elsewhere_has_no_index(tmp_path):
    assert closing_line(str(tmp_path / "out"), "page.html") == "open page.html"
    assert closing_line("memory://runs/out", "page.html") == "open page.html"
    assert not list(tmp_path.iterdir())


def test_the_nearest_folder_with_the_name_counts(tmp_path, monkeypatch):
    assert runs_folder(str(tmp_path / "runs" / "a" / "runs" / "b" / "c")) == tmp_path / "runs" / "a" / "runs"
    assert runs_folder(str(tmp_path / "a" / "runs")) is None, "the output folder itself is one run"
    monkeypatch.chdir(tmp_path)
    assert runs_folder("runs/demo/eval") == tmp_path / "runs"


def test_an_index_that_cannot_be_written_is_no_failure(runs):
    (runs / "index.html").mkdir()
    line = closing_line(str(runs / "toy" / "eval"), "page.html")
    assert line.startswith("open page.html (cannot write ")


def test_it_imports_neither_torch_nor_dask():
    code = "import agg_pipeline.cli.runs_index, sys; print({'torch', 'dask', 'distributed'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_log_of_a_training_is_not_read(runs, kind):
    steps = runs / "toy" / "finetune" / "steps.csv"
    steps.unlink()
    os.mkfifo(steps) if kind == "pipe" else steps.symlink_to("/dev/zero")
    found = {entry.folder: entry for entry in find_runs(runs)}
    assert found["toy/finetune"].figures == ("training.json cannot be read",)


@pytest.mark.parametrize("key", ["inf", "nan", "-1", "1.5", "2e400", "0x1", ""])
def test_a_summary_without_a_target_iou_is_unknown(runs, key):
    path = runs / "toy" / "eval" / "summary.json"
    summary = json.loads(path.read_text())
    for groups in summary["levels"].values():
        groups["all"]["noc"][key] = next(iter(groups["all"]["noc"].values()))
    path.write_text(json.dumps(summary))
    found = {entry.folder: entry for entry in find_runs(runs)}
    assert found["toy/eval"].figures == ("summary.json cannot be read",)


def test_a_comparison_without_evaluations_is_unknown(runs):
    (runs / "odd").mkdir()
    (runs / "odd/comparison.md").write_text("x")
    found = {entry.folder: entry for entry in find_runs(runs)}
    assert found["odd"].figures == ("comparison.md cannot be read",)
    assert write_index(runs, list(found.values())).exists()


def test_a_folder_whose_name_is_not_utf_8(runs):
    (runs / "toy").rename(runs / "caf\udce9")
    page = write_index(runs, find_runs(runs)).read_text()
    assert "<b>caf\\xe9/eval</b>" in page
    assert 'href="caf%E9/' in page
