"""Disks that are full, read-only, removed or damaged: one line, and the same command makes the bytes of an undisturbed
run."""

import json
import os
import re
import shutil

import pytest

from tests.e2e.commands import Result, invoke
from tests.e2e.small_set import write_set
from tests.faults.namespaces import remount, small_disk
from tests.faults.processes import (
    assert_clean,
    assert_done,
    assert_same,
    database,
    error_line,
    hold,
    shim,
    sidecars,
)

RESUME = "run the same command again to resume"


def begin(commands, tmp_path, out, shards):
    """Start a run that has finished so many shards, and waits before it writes the next one."""
    gate = tmp_path / "gate"
    gate.touch()
    gate.with_name("gate-waits").unlink(missing_ok=True)
    finished = f"len(list(pathlib.Path(args[3].url).glob('shards/*'))) >= {shards}"
    lines = hold("agg_pipeline.execution.job:_write_owned", gate, finished)
    running = commands.proposals(out, "--workers", 1, environment=shim(tmp_path, "import pathlib", lines))
    running.wait_for(gate.with_name("gate-waits").exists, "a shard at the gate")
    return running, gate


def cannot_write(error, out, why):
    pattern = rf"(worker tcp://\S+: )?cannot (write|read|delete) {out}\S*: {why}; finished shards are kept; {RESUME}"
    assert re.fullmatch(pattern, error), error


@pytest.mark.faults_long
def test_a_disk_that_becomes_read_only_and_is_removed(commands, reference, tmp_path):
    with small_disk(tmp_path / "disk", "size=8m") as disk:
        out = disk / "out"
        running, gate = begin(commands, tmp_path, out, 1)
        remount(disk, "ro")
        gate.unlink()
        cannot_write(error_line(running.end()), out, "Read-only file system")
        remount(disk, "rw")
        assert len(sidecars(out)) == 1
        running, gate = begin(commands, tmp_path, out, 2)
        shutil.rmtree(out)
        gate.unlink()
        error = error_line(running.end())
        assert error.splitlines() == [error]
        assert "Traceback" not in error
        assert not (out / "database/manifest.json").exists()
        assert_done(commands.make(out))
        assert_same(out, reference)


@pytest.mark.faults_long
def test_full_disks_of_several_sizes(commands, reference, tmp_path):
    """From too small for the plan to nearly large enough, or more; then there is room."""
    for size in (4, 24, 48, 72, 96):
        with small_disk(tmp_path / "disk", f"size={size}k") as disk:
            out = disk / "out"
            ended = commands.make(out)
            if ended.code:
                error = error_line(ended)
                assert "No space left on device" in error, (size, error)
                assert error.endswith(RESUME), (size, error)
            assert_clean(out)
            remount(disk, "size=8m")
            assert_done(commands.make(out))
            assert_same(out, reference)


@pytest.mark.faults_long
@pytest.mark.parametrize("inodes", [4, 10, 16])
def test_no_inodes(commands, reference, tmp_path, inodes):
    with small_disk(tmp_path / "disk", f"size=8m,nr_inodes={inodes}") as disk:
        out = disk / "out"
        error = error_line(commands.make(out))
        assert "No space left on device" in error
        assert_clean(out)
        remount(disk, "nr_inodes=1000")
        assert_done(commands.make(out))
        assert_same(out, reference)


@pytest.mark.faults_long
@pytest.mark.parametrize("blocks", [0, 4])
def test_a_limit_of_the_size_of_files(commands, reference, tmp_path, blocks):
    out = tmp_path / "out"
    # The logs of the test are files, too.
    prefix = ("sh", "-c", f'(ulimit -f {blocks}; exec "$@") 2>&1 | cat', "sh")
    ended = commands.make(out, prefix=prefix)
    lines = ended.stdout.splitlines()
    assert "File too large" in lines[-1], lines
    assert lines[-1].startswith("error: ")
    assert "Traceback" not in ended.stdout
    assert not list(out.rglob(".tmp-*"))
    assert_done(commands.make(out))
    assert_same(out, reference)


@pytest.mark.faults_long
def test_a_disk_that_was_always_read_only(commands, tmp_path):
    with small_disk(tmp_path / "disk", "ro,size=8m") as disk:
        assert "Read-only file system" in error_line(commands.make(disk / "out"))
        assert list(disk.iterdir()) == []


@pytest.mark.faults_long
@pytest.mark.parametrize("what", ["out", "out/database", "out/database/shards", "out/report", "out/database/plan.json"])
@pytest.mark.parametrize("shards", [0, 3])
def test_output_that_is_removed_while_a_run_works(commands, reference, tmp_path, what, shards):
    out = tmp_path / "out"
    running, gate = begin(commands, tmp_path, out, shards)
    path = tmp_path / what
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    gate.unlink()
    ended = running.end()
    # There is no folder of sidecars before the first one.
    if what != "out/report" and (what, shards) != ("out/database/shards", 0):
        error_line(ended)
    again = commands.make(out)
    if what == "out/database/plan.json":
        assert error_line(again).endswith("choose another output folder, or use --overwrite to delete them")
        again = commands.make(out, "--overwrite")
    assert again.code == 0, again
    assert_same(out, reference)
    assert invoke("proposals", "validate", out).code == 0


@pytest.mark.faults_long
@pytest.mark.parametrize("shards", [0, 2])
def test_a_folder_that_is_replaced_by_a_file(commands, reference, tmp_path, shards):
    out = tmp_path / "out"
    running, gate = begin(commands, tmp_path, out, shards)
    shutil.rmtree(out / "database")
    (out / "database").write_text("a file")
    gate.unlink()
    error_line(running.end())
    assert (out / "database").read_text() == "a file"
    error_line(commands.make(out))
    (out / "database").unlink()
    assert commands.make(out).code == 0
    assert_same(out, reference)


# Damage


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path, size=50):
    os.truncate(path, size)


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def swap(root):
    first, second = root / "proposals/part-00000.parquet", root / "proposals/part-00001.parquet"
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def swap_shards(root):
    for folder in ("proposals", "images", "rejects"):
        swap_files(root / f"{folder}/part-00000.parquet", root / f"{folder}/part-00001.parquet")
    first, second = root / "shards/part-00000.json", root / "shards/part-00001.json"
    texts = first.read_text(), second.read_text()
    first.write_text(texts[1].replace("part-00001", "part-00000").replace('"shard": 1', '"shard": 0'))
    second.write_text(texts[0].replace("part-00000", "part-00001").replace('"shard": 0', '"shard": 1'))


def swap_files(first, second):
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def extra_shard(root, number):
    for folder in ("proposals", "images", "rejects"):
        shutil.copy(root / f"{folder}/part-00000.parquet", root / f"{folder}/part-{number:05d}.parquet")
    text = (root / "shards/part-00000.json").read_text()
    text = text.replace("part-00000", f"part-{number:05d}").replace('"shard": 0', f'"shard": {number}')
    (root / f"shards/part-{number:05d}.json").write_text(text)


def into_folder(path):
    path.unlink()
    path.mkdir()


def into_link(path, target):
    path.unlink()
    path.symlink_to(target)


def to_elsewhere(root):
    shutil.move(root / "proposals", root.parent / "elsewhere")
    (root / "proposals").symlink_to(root.parent / "elsewhere")


def edited_plan(change):
    def damage(root):
        plan = json.loads((root / "plan.json").read_text())
        change(plan)
        (root / "plan.json").write_text(json.dumps(plan))

    return damage


PARQUET, CARD = "proposals/part-00001.parquet", "README.md"
SIDE = "shards/part-00001.json"
REPAIRED, VERIFIED, REFUSED, HARMLESS = "repaired", "repaired with --verify", "refused", "harmless"
BLOCKED = "one line, and repaired when the folder is gone"
DAMAGE = {
    # What is damaged: how, what the same command does, whether validate finds it.
    "byte of proposals": (lambda d: flip(d / PARQUET), VERIFIED, True),
    "byte of rejects": (lambda d: flip(d / "rejects/part-00001.parquet"), VERIFIED, True),
    "two shards' proposals swapped": (swap, VERIFIED, True),
    "proposals cut": (lambda d: cut(d / PARQUET), REPAIRED, True),
    "images deleted": (lambda d: (d / "images/part-00002.parquet").unlink(), REPAIRED, True),
    "images: 999": (lambda d: edit(d / SIDE, images=999), REPAIRED, True),
    "images: text": (lambda d: edit(d / SIDE, images="1"), REPAIRED, True),
    "images: null": (lambda d: edit(d / SIDE, images=None), REPAIRED, True),
    "kinds": (lambda d: edit(d / SIDE, kinds={"object": 99}), REPAIRED, True),
    "rejects": (lambda d: edit(d / SIDE, rejects={"small": 99}), REPAIRED, True),
    "files: none": (lambda d: edit(d / SIDE, files={}), REPAIRED, True),
    "another key": (lambda d: edit(d / SIDE, extra=1), REPAIRED, True),
    "format version": (lambda d: edit(d / SIDE, format_version=9), REPAIRED, True),
    "config hash": (lambda d: edit(d / SIDE, config_hash="x" * 32), REPAIRED, True),
    "sidecar cut": (lambda d: cut(d / SIDE), REPAIRED, True),
    "sidecar empty": (lambda d: cut(d / SIDE, 0), REPAIRED, True),
    "two shards swapped with their sidecars": (swap_shards, REPAIRED, True),
    "seed of the plan": (edited_plan(lambda plan: plan.update(seed=7)), REFUSED, True),
    "order of the plan": (edited_plan(lambda plan: plan["shards"].reverse()), REFUSED, True),
    "plan deleted": (lambda d: (d / "plan.json").unlink(), REFUSED, True),
    "plan cut": (lambda d: cut(d / "plan.json", 1000), REFUSED, True),
    "plan empty": (lambda d: cut(d / "plan.json", 0), REFUSED, True),
    "plan is a list": (lambda d: (d / "plan.json").write_text("[]"), REFUSED, True),
    "plan is deep": (lambda d: (d / "plan.json").write_text("[" * 100_000), REFUSED, True),
    "plan has many digits": (lambda d: (d / "plan.json").write_text('{"a":' + "1" * 5000 + "}"), REFUSED, True),
    "manifest deleted": (lambda d: (d / "manifest.json").unlink(), REPAIRED, True),
    "manifest edited": (lambda d: (d / "manifest.json").write_text("{}"), REPAIRED, True),
    "card deleted": (lambda d: (d / CARD).unlink(), REPAIRED, True),
    "sampling edited": (lambda d: (d / "sampling.parquet").write_bytes(b"x"), REPAIRED, True),
    "a Parquet file of no shard": (lambda d: shutil.copy(d / PARQUET, d / "proposals/part-00009.parquet"), REPAIRED, 1),
    "a shard too many": (lambda d: extra_shard(d, 4), REPAIRED, True),
    "a shard far beyond the plan": (lambda d: extra_shard(d, 99999), REPAIRED, True),
    "a foreign file": (lambda d: (d / "notes.txt").write_text("mine"), HARMLESS, True),
    "a foreign file in proposals": (lambda d: (d / "proposals/notes.txt").write_text("mine"), REFUSED, True),
    "a temporary file": (lambda d: (d / "proposals/.tmp-mine").write_text("mine"), REPAIRED, True),
    "a folder in place of a table": (lambda d: into_folder(d / "images/part-00001.parquet"), BLOCKED, True),
    "a folder in place of a sidecar": (lambda d: into_folder(d / SIDE), BLOCKED, True),
    "a dangling link": (lambda d: into_link(d / "images/part-00001.parquet", "/nowhere"), REPAIRED, True),
    "a link to a device": (lambda d: into_link(d / "images/part-00001.parquet", "/dev/zero"), REPAIRED, True),
    "a linked folder": (to_elsewhere, HARMLESS, False),
}


def one_line(result: Result) -> None:
    if result.code:
        error_line(result)
    assert "Traceback" not in result.stderr


@pytest.mark.faults_long
@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_database(commands, reference, tmp_path, name):
    damage, outcome, found = DAMAGE[name]
    out = shutil.copytree(reference, tmp_path / "out")
    damage(out / "database")
    validated = invoke("proposals", "validate", out)
    assert (validated.code != 0) == bool(found), validated
    assert "Traceback" not in validated.stderr
    if validated.code == 2:
        error_line(validated)
    before = database(out)
    result = commands.make(out, "--workers", 1)
    one_line(result)
    if outcome == REFUSED:
        error_line(result)
        left = {path: digest for path, digest in before.items() if not path.startswith("lock")}
        assert database(out) == left, "nothing was deleted"
        return
    if outcome == BLOCKED:
        (folder,) = [path for path in (out / "database").rglob("part-*") if path.is_dir()]
        assert str(folder) in error_line(result)
        folder.rmdir()
        result = commands.make(out, "--workers", 1)
    assert result.code == 0, result
    if outcome == VERIFIED:
        result = commands.make(out, "--workers", 1, "--verify")
        assert result.code == 0, result
    expected, made = database(reference), database(out)
    if outcome == HARMLESS and "foreign" in name:
        made = {path: digest for path, digest in made.items() if not path.endswith("notes.txt")}
    if name == "a linked folder":
        made |= {f"proposals/{path.name}": expected[f"proposals/{path.name}"] for path in (out / "elsewhere").iterdir()}
    assert made == expected
    if "foreign" not in name:
        assert invoke("proposals", "validate", out).code == 0


@pytest.mark.faults_long
def test_data_that_changes_while_a_run_is_stopped(commands, tmp_path):
    """Another size is another data set; the same size is not noticed before --verify, and does not change a shard."""
    data, out = write_set(tmp_path / "data"), tmp_path / "out"
    assert_done(commands.make(out, "--limit-images", 2, data=data))
    whole = tmp_path / "whole"
    assert_done(commands.make(whole, data=data))
    path = data / "img/2008_000003.jpg"
    content = path.read_bytes()
    path.write_bytes(content + b"\0")
    assert "data" in error_line(commands.make(out, data=data))
    path.write_bytes(content)
    (data / "inst/2008_000002.mat").rename(tmp_path / "away")
    error_line(commands.make(out, data=data))
    (tmp_path / "away").rename(data / "inst/2008_000002.mat")
    assert_done(commands.make(out, data=data))
    assert_same(out, whole)
