"""Bad input through the command line: one clear line, an exit code, and nothing that was computed is lost."""

import hashlib
import os
import re
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from scipy.io import savemat

from agg_pipeline import open_proposals
from agg_pipeline.models.adapter import Adapter
from agg_pipeline.models.backend import usable_gpus
from agg_pipeline.models.checkpoints import default_checkpoint, load_click_model, save_adapter, save_click_model
from tests.e2e.commands import Result, error_of, invoke, start, wait
from tests.e2e.small_set import HEIGHT, NAMING, QUICK, SIZES, WIDTH, add_image, add_split, labels, pixels

NO_GPU = not torch.cuda.is_available()


def snapshot(folder):
    """Every file below a folder with its time and content."""
    return {
        path: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module", autouse=True)
def run_without_scheduler(finished, tmp_path_factory):
    """A run that looks for a scheduler where none listens: it waits ten seconds, and is started before the others."""
    out = tmp_path_factory.mktemp("unreachable") / "out"
    process = start(
        *("proposals", "run", *SIZES, *QUICK, "--data", finished.data, "--out", out),
        *("--scheduler", "tcp://127.0.0.1:1"),
    )
    yield process
    process.kill()


@pytest.fixture
def refused(finished):
    """Run on the small set, with some options more, by default into the finished folder; the line of the refusal.

    The finished database stays as it is.
    """

    def run(*options, out=finished.out):
        before = snapshot(finished.out)
        command = ("proposals", "run", *SIZES, *QUICK, "--data", finished.data, "--out", out)
        error = error_of(invoke(*command, *options))
        assert snapshot(finished.out) == before
        return error

    return run


def test_finished_run_again(finished):
    before = snapshot(finished.out / "database")
    result = invoke("proposals", "run", *SIZES, *QUICK, "--data", finished.data, "--out", finished.out)
    assert (result.code, result.stderr) == (0, "")
    assert "finished already: 4 of 4 images" in result.stdout
    assert snapshot(finished.out / "database") == before, "neither shards nor summaries are written again"


# Data sets


def test_missing_data_root(refused, tmp_path):
    assert refused("--data", tmp_path / "nowhere") == (
        f"{tmp_path}/nowhere does not exist; name the root folder of sbd, which holds img, inst "
        "(with make: DATA=folder)"
    )
    assert refused("--data", tmp_path) == f"{tmp_path} is not the root of sbd: expected img, inst, found nothing"
    asked = "data set sbd needs its root folder; give it as --data FOLDER (with make: DATA=folder)"
    assert refused("--data", "") == asked


def test_missing_or_wrong_split_file(refused, finished, tmp_path):
    assert refused("--split", "test").startswith(
        f"unknown split 'test', because {finished.data}/test.txt does not exist"
    )
    assert refused("--split", tmp_path / "mine.txt").startswith(f"list file {tmp_path}/mine.txt does not exist")
    (tmp_path / "mine.txt").write_text("\n")
    assert refused("--split", tmp_path / "mine.txt").endswith("mine.txt lists no image")
    (tmp_path / "mine.txt").write_text("2008_000001\n2008_000000\n2008_000001\n")
    assert refused("--split", tmp_path / "mine.txt").endswith("lists 2008_000001 more than once")


def colours(mode):
    """A picture of the usual labels in another colour mode, and the format of its file."""
    shown = Image.fromarray(pixels(labels()))
    if mode == "I;16":
        return Image.fromarray(np.asarray(shown.convert("L")).astype(np.uint16) * 257), "PNG"
    return shown.convert(mode), "JPEG" if mode in ("L", "CMYK") else "PNG"


@pytest.fixture(scope="module")
def odd_set(tmp_path_factory):
    """Eight images that are unusual but right, then three that are broken and, after them, a plain one."""
    root = tmp_path_factory.mktemp("odd")
    for mode, image_id in {
        "L": "a_grey",
        "RGBA": "a_rgba",
        "I;16": "a_sixteen",
        "CMYK": "a_cmyk",
        "P": "a_palette",
    }.items():
        add_image(root, image_id, labels(), *colours(mode))
    add_image(root, "b_no_object", np.zeros((HEIGHT, WIDTH), np.uint8))
    pixel = labels()
    pixel[pixel == 2] = 0
    pixel[50, 60] = 2
    add_image(root, "b_one_pixel", pixel)
    add_image(root, "b_whole", np.ones((HEIGHT, WIDTH), np.uint8))
    add_image(root, "c_truncated", labels())
    path = root / "img/c_truncated.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    add_image(root, "d_no_gtinst", labels())
    savemat(root / "inst/d_no_gtinst.mat", {"GTcls": {"Segmentation": labels()}})
    add_image(root, "e_other_size", np.pad(labels(), ((0, 0), (0, 9))), Image.fromarray(pixels(labels())))
    add_image(root, "f_plain", labels())
    (root / "dataset.toml").write_text(NAMING)
    add_split(root, "train", *(path.stem for path in (root / "img").iterdir()))
    return root


class OddRun(NamedTuple):
    """What the run over the odd set left: its command, output folder and result."""

    command: tuple
    out: Path
    result: Result


@pytest.fixture(scope="module")
def odd_run(odd_set, tmp_path_factory):
    """The run over the odd set, four images a shard, with a gallery."""
    out = tmp_path_factory.mktemp("odd_run") / "out"
    command = ("proposals", "run", "--dataset", "sbd", "--data", odd_set, "--out", out, "--input-size", "64")
    command += ("--images-per-shard", "4", "--workers", "1", "--gallery-images", "3")
    return OddRun(command, out, wait(start(*command)))


def test_unusual_images_work(odd_run, odd_set):
    database = open_proposals(odd_run.out)
    usual = {1: 1080, 2: 644}
    for name in ("a_grey", "a_rgba", "a_sixteen", "a_cmyk", "a_palette"):
        rows = database.of_image(name).to_pylist()
        assert {row["instance_id"]: row["area"] for row in rows if row["kind"] == "object"} == usual
        assert any(row["kind"] == "part" for row in rows), name
    sizes = {(row["height"], row["width"]) for row in database.images().to_pylist()}
    assert sizes == {(HEIGHT, WIDTH)}
    shas = {row["image_id"]: row["sha256"] for row in database.images().to_pylist()}
    assert shas["a_cmyk"] == hashlib.sha256((odd_set / "img/a_cmyk.jpg").read_bytes()).hexdigest()


def test_image_without_object_is_recorded(odd_run):
    database = open_proposals(odd_run.out)
    rows = [row for row in database.rejects().to_pylist() if row["image_id"] == "b_no_object"]
    assert [(row["reason"], row["instance_id"], row["stage"]) for row in rows] == [("no_object", None, "load")]
    assert database.of_image("b_no_object").num_rows == 0
    assert "b_no_object" in database.images()["image_id"].to_pylist()


def test_objects_of_one_pixel_and_of_the_whole_image(odd_run):
    database = open_proposals(odd_run.out)
    objects = {
        (row["image_id"], row["instance_id"]): (row["area"], tuple(row["bbox"].values()))
        for row in database.proposals().to_pylist()
        if row["kind"] == "object" and row["image_id"].startswith("b_")
    }
    assert objects == {
        ("b_one_pixel", 1): (1080, (4, 10, 36, 30)),
        ("b_one_pixel", 2): (1, (60, 50, 1, 1)),
        ("b_whole", 1): (HEIGHT * WIDTH, (0, 0, WIDTH, HEIGHT)),
    }


def test_broken_images_are_rejects_and_the_run_goes_on(odd_run):
    database = open_proposals(odd_run.out)
    lost = {row["image_id"]: row for row in database.rejects().to_pylist() if row["image_id"][0] in "cde"}
    assert {name: (row["reason"], row["stage"]) for name, row in lost.items()} == {
        "c_truncated": ("unreadable_image", "load"),
        "d_no_gtinst": ("unreadable_annotation", "load"),
        "e_other_size": ("size_mismatch", "load"),
    }
    assert "truncated" in lost["c_truncated"]["detail"]
    assert lost["d_no_gtinst"]["detail"] == "inst/d_no_gtinst.mat has no GTinst"
    assert lost["e_other_size"]["detail"].endswith(
        f"is {HEIGHT}x{WIDTH + 9}, its image {HEIGHT}x{WIDTH} (rows x columns)"
    )
    images = set(database.images()["image_id"].to_pylist())
    assert len(images) == 9
    assert not images & set(lost)
    assert {row["kind"] for row in database.of_image("f_plain").to_pylist()} >= {"object", "part"}
    assert (odd_run.out / "report/gallery.html").stat().st_size > 10_000, "the gallery comes in spite of broken images"
    assert invoke("proposals", "validate", odd_run.out).code == 0


def test_exit_code_counts_what_fell_out_and_no_image_without_object(odd_run):
    error = error_of(odd_run.result)
    assert error.startswith("25.0% of the images could not be used, more than --max-reject-share 1.0%: 1 x "), (
        "three of twelve images, not four"
    )
    assert "(for example d_no_gtinst: inst/d_no_gtinst.mat has no GTinst)" in error
    assert error.count(" x ") - error.count("(rows x columns)") == 3
    assert error.endswith(f"; all reasons are in {odd_run.out}/database/rejects")
    kept = snapshot(odd_run.out / "database/proposals")
    accepted = invoke(*odd_run.command, "--max-reject-share", "0.25")
    assert (accepted.code, accepted.stderr) == (0, "")
    assert "could not be used" in error_of(invoke(*odd_run.command, "--max-reject-share", "0.24"))
    assert snapshot(odd_run.out / "database/proposals") == kept, "nothing was made again"


# Checkpoints


class Malicious:
    """Pickles to a command that leaves a proof."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


def test_checkpoint_of_another_architecture(refused, tmp_path):
    state = safetensors.torch.load_file(default_checkpoint())
    state["backbone.blocks.0.attn.qkv.weight"] = torch.zeros(2304, 768)
    safetensors.torch.save_file(state, tmp_path / "other.safetensors")
    error = refused("--checkpoint", tmp_path / "other.safetensors")
    assert "backbone.blocks.0.attn.qkv.weight has shape (2304, 768) instead of (480, 160)" in error


def test_truncated_or_missing_checkpoint(refused, tmp_path):
    content = default_checkpoint().read_bytes()
    (tmp_path / "half.safetensors").write_bytes(content[: len(content) // 2])
    assert refused("--checkpoint", tmp_path / "half.safetensors").endswith("or it is truncated")
    torch.save({"state_dict": {"a": torch.zeros(1000)}}, tmp_path / "half.pth")
    (tmp_path / "half.pth").write_bytes((tmp_path / "half.pth").read_bytes()[:2000])
    assert "truncated" in refused("--checkpoint", tmp_path / "half.pth")
    assert refused("--checkpoint", tmp_path / "none.pth") == f"{tmp_path}/none.pth does not exist"
    assert "is a directory" in refused("--checkpoint", tmp_path)


def test_finite_weights_whose_predictions_are_not(finished, tmp_path):
    path = tmp_path / "large.safetensors"
    model, _ = load_click_model(default_checkpoint())
    with torch.no_grad():
        for value in model.parameters():
            value.fill_(1e38)
    save_click_model(path, model, half=False)
    data = ("--dataset", "sbd", "--data", finished.data, "--split", "train", "--workers", "1", "--checkpoint", path)
    for command in (("proposals", "run", "--gallery-images", "0"), ("eval", "run", "--max-clicks", "1")):
        result = invoke(*command, *data, "--out", tmp_path / command[0])
        assert result.code == 2
        error = error_of(result._replace(stderr=result.stderr.splitlines()[-1]))
        assert f"{path} gives values that are not finite, because some of its weights are far too large" in error
        assert re.match(r"worker tcp://\S+: ", error)


def test_malicious_checkpoint(refused, tmp_path):
    proof = tmp_path / "proof"
    torch.save({"state_dict": {"a": Malicious(proof)}}, tmp_path / "model.pth")
    torch.load(tmp_path / "model.pth", weights_only=False)
    assert proof.exists(), "the file does its harm where it is read without care"
    proof.unlink()
    assert "system, which is no part of a model" in refused("--checkpoint", tmp_path / "model.pth")
    assert not proof.exists()


def test_adapter_in_place_of_a_checkpoint(refused, tmp_path):
    save_adapter(tmp_path / "adapter.safetensors", Adapter(160, 8))
    error = refused("--checkpoint", tmp_path / "adapter.safetensors")
    assert error.endswith("holds a GraCo adapter, not a click model; give it as the adapter")


# Output folders


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (("--seed", "5"), "seed: 0 -> 5"),
        (("--preset", "released"), 'config.granularity.click: "centre" -> "eroded"'),
        (("--input-size", "128"), "model.input_size: 64 -> 128"),
        (("--split", "one"), 'dataset.split: "train" -> "one"'),
        (("--images-per-shard", "2"), "config.batch.images_per_shard: 1 -> 2"),
    ],
)
def test_folder_of_another_run(refused, finished, options, difference):
    error = refused(*options)
    assert error.startswith(
        f"{finished.out}/database holds another run; choose another output folder, or use --overwrite"
    )
    assert difference in error


def test_folder_of_a_run_with_another_model(refused, tmp_path):
    state = safetensors.torch.load_file(default_checkpoint())
    state[max(state)].add_(1)
    safetensors.torch.save_file(state, tmp_path / "other.safetensors")
    assert 'model.sha256: "' in refused("--checkpoint", tmp_path / "other.safetensors")


def test_folder_of_a_run_on_other_data(refused, finished, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for path in finished.data.iterdir():
        (data / path.name).symlink_to(path)
    (data / "inst").unlink()
    (data / "inst").mkdir()
    for path in (finished.data / "inst").iterdir():
        (data / "inst" / path.name).symlink_to(path)
    (data / "inst/2008_000002.mat").unlink()
    savemat(data / "inst/2008_000002.mat", {"GTinst": {"Segmentation": labels(9)}})
    error = refused("--data", data)
    assert error.endswith('"') and error.count(" -> ") == 1
    assert 'dataset.fingerprint: "' in error


def test_folder_with_foreign_files(refused, tmp_path):
    diary = tmp_path / "out/database/diary.txt"
    diary.parent.mkdir(parents=True)
    diary.write_text("dear diary")
    for options in ((), ("--overwrite",)):
        error = refused(*options, out=tmp_path / "out")
        place = f"{tmp_path}/out/database"
        assert error == f"{place} holds diary.txt and is not a proposal database; choose another output folder"
        assert [path.name for path in diary.parent.iterdir()] == ["diary.txt"]
    assert diary.read_text() == "dear diary"


def test_second_run_in_the_folder_of_a_running_one(finished):
    error = error_of(finished.second)
    assert f"database is being written by another run (process {finished.first_process} on " in error
    assert invoke("proposals", "validate", finished.out).code == 0, "the first run was not disturbed"
    assert not (finished.out / "database/lock.json").exists()


def test_file_in_place_of_the_output_folder(refused, tmp_path):
    (tmp_path / "out").write_text("a file")
    assert refused(out=tmp_path / "out") == f"--out {tmp_path}/out is a file; name a folder"
    assert (tmp_path / "out").read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_output_folder_without_permission(refused, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    assert "Permission denied" in refused(out=tmp_path / "out")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 72 KB: room for one or two shards of the small set."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=72k", "none", place], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting a small file system is not permitted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_full_disk(finished, small_disk):
    out = small_disk / "out"
    command = ("proposals", "run", *SIZES, *QUICK, "--data", finished.data, "--out", out)
    error = error_of(wait(start(*command)))
    shards = sorted(path.stem for path in (out / "database/shards").iterdir())
    assert re.match(rf"worker tcp://\S+: cannot write {re.escape(str(out))}/database/", error)
    assert error.endswith(": No space left on device; finished shards are kept; run the same command again to resume")
    assert 1 <= len(shards) < 4
    kept = {path: state for path, state in snapshot(out).items() if path.stem in shards}
    assert len(kept) == 4 * len(shards)
    assert not (out / "database/lock.json").exists()
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    result = wait(start(*command))
    assert (result.code, result.stderr) == (0, "")
    assert f"finished already: {len(shards)} of 4 images" in result.stdout
    after = snapshot(out)
    assert {path: after[path] for path in kept} == kept
    assert not list(out.rglob(".tmp-*"))
    assert invoke("proposals", "validate", out).code == 0
    for path in (out / "database").rglob("*.parquet"):
        twin = finished.out / path.relative_to(out)
        assert path.read_bytes() == twin.read_bytes(), "the full disk left no trace"


# Options and configuration files


def test_unknown_values_of_options(refused):
    assert refused("--preset", "nonsense") == (
        "Invalid value for '--preset': 'nonsense' is not one of 'paper', 'parts', 'released'."
    )
    assert refused("--dataset", "nonsense").startswith(
        "unknown data set 'nonsense'; possible: berkeley, coco, davis, demo"
    )
    assert "possible: train, val, large" in refused("--dataset", "demo", "--data", "", "--split", "nonsense")
    assert "possible: auto, cpu, cuda, cuda:N" in refused("--device", "gpu")
    assert "'float32', 'bfloat16'" in refused("--dtype", "float16")
    # Click quotes the name since 8.4.
    assert refused("--sede", "1").replace("'", "").replace(":", "").startswith("No such option --sede")


def test_usage_errors_of_the_command_itself():
    assert error_of(invoke("proposals", "run")) == "Missing option '--out'."
    assert "No such command 'propose'" in error_of(invoke("propose"))
    assert "Missing argument 'PATH'" in error_of(invoke("proposals", "validate"))
    assert "Usage: " in invoke("proposals").stderr, "without a command the help is shown"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seed", "-1"), "'--seed': -1 is not in the range x>=0"),
        (("--seed", str(2**63)), "configuration key 'seed' is 9223372036854775808; it must be from 0 to"),
        (("--images-per-shard", "0"), "'--images-per-shard': 0 is not in the range x>=1"),
        (("--contrast", "21"), "configuration key 'loop.contrast' is 21; it must be from 1 to loop.max_draws, 20"),
        (("--input-size", "100"), "xtiny cannot take 100x100: the patches of 16 px a side must be"),
        (("--limit-images", "0"), "'--limit-images': 0 is not in the range x>=1"),
        (("--workers", "0"), "'--workers': 0 is not in the range x>=1"),
        (("--max-reject-share", "2"), "'--max-reject-share': 2.0 is not in the range 0<=x<=1"),
        (("--seed", "one"), "'--seed': 'one' is not a valid integer"),
    ],
)
def test_values_out_of_range(refused, tmp_path, options, said):
    assert said in refused(*options, out=tmp_path / "out")
    assert not (tmp_path / "out").exists(), "what is refused leaves no plan behind that is in the way of the right one"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[loop]\nmax_clicks = 3",
            "unknown configuration key 'loop.max_clicks'; possible: contrast, keep,",
        ),
        (
            "sede = 3",
            "unknown configuration key 'sede'; did you mean 'seed'? Possible: batch, granularity, loop,",
        ),
        ("[loop\nkeep = 'all'", "is not TOML: Expected ']' at the end of a table declaration (at line 1, column 6)"),
        ("seed = 'one'", "configuration key 'seed' is 'one'; a value of type int is needed"),
        ("seed = -1", "configuration key 'seed' is -1; it must be from 0 to"),
        ("[batch]\nbatch_pixels = 0", "configuration key 'batch.batch_pixels' is 0; it must be at least 1"),
        ("seed = 1.5", "configuration key 'seed' is 1.5; a value of type int is needed"),
        ("loop = 3", "configuration key 'loop' is a table, not 3"),
        ("[predictor]\nflip = 1", "configuration key 'predictor.flip' is 1; a value of type bool is needed"),
        (
            "[predictor]\ndevice = 'gpu'",
            "configuration key 'predictor.device' is 'gpu'; possible: auto, cpu, cuda, cuda:N",
        ),
        ("[loop]\nkeep = 'some'", "configuration key 'loop.keep' is 'some'; possible: all, last"),
        ("[granularity]\nweight = 1.5", "configuration key 'granularity.weight' is 1.5; it must be from 0 to 1"),
        ("[granularity]\nweight = nan", "configuration key 'granularity.weight' is nan; it must be from 0 to 1"),
        ("[masks]\nopening = 4", "configuration key 'masks.opening' is 4; it must be odd"),
        ("preset = 'papre'", "unknown preset 'papre'; did you mean 'paper'? Possible: paper, parts, released"),
        ("preset = ['paper']", "unknown preset ['paper']; possible: paper, parts, released"),
    ],
)
def test_configuration_file(refused, tmp_path, text, said):
    (tmp_path / "mine.toml").write_text(text)
    assert said in refused("--config", tmp_path / "mine.toml", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_or_binary_configuration_file(refused, tmp_path):
    path = tmp_path / "mine.toml"
    assert refused("--config", path) == f"configuration file {path} does not exist"
    path.write_bytes(b"\xff\xfe\x00")
    assert refused("--config", path).startswith(f"configuration file {path} is not TOML")
    assert "is a directory" in refused("--config", tmp_path)


@pytest.mark.skipif(not NO_GPU, reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_device_that_is_not_there(refused, tmp_path, device):
    # Why there is none depends on how torch was built.
    _, why = usable_gpus()
    assert refused("--device", device, out=tmp_path / "out") == (
        f"device '{device}' was asked for, but {why}; use --device cpu or auto"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(NO_GPU, reason="there is no GPU")
def test_gpu_with_a_number_that_is_not_there(refused):
    assert "torch finds only" in refused("--device", "cuda:99")


def test_unknown_file_system(refused):
    assert "Protocol not known: nowhere" in refused(out="nowhere://bucket/out")


def test_unreachable_scheduler(run_without_scheduler):
    asked = time.monotonic()
    result = wait(run_without_scheduler)
    assert time.monotonic() - asked < 60
    assert error_of(result).startswith("no Dask scheduler answers at tcp://127.0.0.1:1; check --scheduler (")


@pytest.mark.parametrize("command", ["status", "validate", "stats"])
def test_folder_that_holds_no_database(tmp_path, command):
    lack = "has neither plan.json nor database/plan.json; name the output folder of agg proposals run"
    for place, why in ((tmp_path, lack), (tmp_path / "nowhere", "does not exist")):
        error = error_of(invoke("proposals", command, place))
        assert error == f"{place} is not a proposal database, because it {why}"
