"""A database packed into one file, and unpacked again, also from files that somebody has tampered with."""

import io
import os
import shutil
import subprocess
import sys
import tarfile

import pytest

from agg_pipeline.database.identity import database_id
from agg_pipeline.database.publishing.packing import pack
from agg_pipeline.database.publishing.plain_tar import header
from agg_pipeline.database.publishing.unpacking import unpack
from agg_pipeline.database.reader import inspect_proposals, open_proposals
from agg_pipeline.database.validation import validate
from agg_pipeline.storage.store import Store
from schemas import limits
from schemas.errors import StorageError, UserError


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def packed(whole, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "toy.tar"
    pack(whole, str(path))
    return path


def test_round_trip(packed, whole, finished_folder, tmp_path):
    made = unpack(str(packed), str(tmp_path / "new/folder"))
    assert files_of(tmp_path / "new/folder") == files_of(finished_folder)
    assert database_id(made) == database_id(whole)
    assert list(validate(inspect_proposals(made.store.url))) == []
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["folder"]


def test_same_bytes_whatever_the_times_and_owners(packed, finished_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished_folder, copy)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    pack(open_proposals(str(copy)), str(tmp_path / "again.tar"))
    assert (tmp_path / "again.tar").read_bytes() == packed.read_bytes()


def test_headers_say_nothing_of_this_machine(packed):
    with tarfile.open(packed) as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
            assert (member.mode, member.isreg(), member.pax_headers) == (0o644, True, {})


def test_other_programs_unpack_it(packed, finished_folder, tmp_path):
    subprocess.run(["tar", "-xf", packed, "-C", tmp_path], check=True)
    assert files_of(tmp_path) == files_of(finished_folder)


@pytest.mark.parametrize("kind", ["gnu", "ustar"])
def test_files_of_other_programs(finished_folder, tmp_path, kind):
    """GNU tar writes folders, times and owners, in the order of the disk."""
    subprocess.run(["tar", f"--format={kind}", "-cf", tmp_path / "x.tar", "-C", finished_folder, "."], check=True)
    unpack(str(tmp_path / "x.tar"), str(tmp_path / "out"))
    assert files_of(tmp_path / "out") == files_of(finished_folder)


def test_into_an_empty_folder_and_not_into_another(packed, tmp_path):
    (tmp_path / "empty").mkdir()
    unpack(str(packed), str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"empty is not empty; choose another folder"):
        unpack(str(packed), str(tmp_path / "empty"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"file is not empty"):
        unpack(str(packed), str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"memory://x is no folder of this machine"):
        unpack(str(packed), "memory://x")
    with pytest.raises(UserError, match=r"^\S+nothing\.tar does not exist$"):
        unpack(str(tmp_path / "nothing.tar"), str(tmp_path / "new"))


def test_only_a_file_of_pack_is_replaced_and_only_if_it_is_asked_to(packed, whole, tmp_path):
    (tmp_path / "toy.tar").write_bytes(packed.read_bytes()[:1500])
    with pytest.raises(UserError, match=r"toy\.tar is there already; choose another name, or use --overwrite"):
        pack(whole, str(tmp_path / "toy.tar"))
    pack(whole, str(tmp_path / "toy.tar"), overwrite=True)
    assert (tmp_path / "toy.tar").read_bytes() == packed.read_bytes()
    (tmp_path / "README.md").write_text("mine")
    subprocess.run(["tar", "-cf", tmp_path / "other.tar", "-C", tmp_path, "README.md"], check=True)
    (tmp_path / "precious.txt").write_text("precious")
    (tmp_path / "empty").write_text("")
    (tmp_path / "folder").mkdir()
    for name in ("other.tar", "precious.txt", "empty", "folder"):
        with pytest.raises(UserError, match="is there, and agg database pack has not written it; choose another name"):
            pack(whole, str(tmp_path / name), overwrite=True)
    assert (tmp_path / "precious.txt").read_text() == "precious"


def test_not_into_itself(whole, finished_folder, tmp_path):
    before = files_of(finished_folder)
    with pytest.raises(UserError, match=r"lies in the database"):
        pack(whole, str(finished_folder / "toy.tar"))
    (tmp_path / "link").symlink_to(finished_folder / "shards")
    with pytest.raises(UserError, match=r"lies in the database"):
        pack(whole, str(tmp_path / "link/toy.tar"))
    assert files_of(finished_folder) == before


def test_unfinished_and_damaged_databases_are_refused(finished_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished_folder, copy)
    (copy / "proposals/part-00001.parquet").write_bytes(b"x")
    with pytest.raises(UserError, match=r"proposals/part-00001.parquet does not have the checksum"):
        pack(open_proposals(str(copy)), str(tmp_path / "x.tar"))
    (copy / "proposals/part-00001.parquet").unlink()
    with pytest.raises(UserError, match=r"proposals/part-00001.parquet is missing"):
        pack(open_proposals(str(copy)), str(tmp_path / "x.tar"))
    (copy / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"is not finished, or was changed"):
        pack(open_proposals(str(copy)), str(tmp_path / "x.tar"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


def test_in_a_bucket(whole, finished_folder, tmp_path):
    pack(whole, "memory://packed/toy.tar")
    unpack("memory://packed/toy.tar", str(tmp_path / "out"))
    assert files_of(tmp_path / "out") == files_of(finished_folder)


# Hostile files.


def member(name, content=b"", kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    return info, content


def with_members(packed, extra, path, first=False, without=()):
    """A copy of a tar file with other members."""
    with tarfile.open(packed) as old:
        kept = [(each, old.extractfile(each).read()) for each in old if each.name not in without]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as new:
        for info, content in [*extra, *kept] if first else [*kept, *extra]:
            new.addfile(info, io.BytesIO(content))
    return path


HOSTILE = {
    "absolute": (member("/tmp/agg-escaped", b"x"), r"/tmp/agg-escaped is no file of a database"),
    "up": (member("../escaped", b"x"), r"\.\./escaped is no file of a database"),
    "up inside": (member("proposals/../../escaped", b"x"), r"is no file of a database"),
    "up in a name of ours": (member("proposals/../plan.json", b"x"), r"is no file of a database"),
    "another name": (member("run.sh", b"x"), r"run\.sh is no file of a database"),
    "a table of another name": (member("proposals/x.parquet", b"x"), r"x\.parquet is no file of a database"),
    "hidden": (member("proposals/.hidden", b"x"), r"\.hidden is no file of a database"),
    "temporary": (member("proposals/.tmp-x", b"x"), r"\.tmp-x is no file of a database"),
    "lock": (member("lock.json", b"{}"), r"lock\.json is no file of a database"),
    "new line": (member("plan\n.json", b"x"), r"plan\\n\.json is no file of a database"),
    "link": (member("README.md", kind=tarfile.SYMTYPE, link="/etc/passwd"), r"README\.md is a link"),
    "hard link": (member("README.md", kind=tarfile.LNKTYPE, link="/etc/passwd"), r"README\.md is a hard link"),
    "link for a folder": (member("proposals", kind=tarfile.SYMTYPE, link="/tmp"), r"proposals is a link"),
    "device": (member("README.md", kind=tarfile.CHRTYPE), r"README\.md is a device"),
    "disk": (member("README.md", kind=tarfile.BLKTYPE), r"README\.md is a device"),
    "pipe": (member("README.md", kind=tarfile.FIFOTYPE), r"README\.md is a pipe"),
    "sparse": (member("README.md", kind=tarfile.GNUTYPE_SPARSE), r"README\.md is a sparse file"),
    "long name": (member("x", b"y" * 200, kind=tarfile.GNUTYPE_LONGNAME), r"is an extension of the format"),
    "extension": (member("x", b"22 path=../escaped\n", kind=tarfile.XHDTYPE), r"is an extension of the format"),
    "other kind": (member("README.md", kind=b"V"), r"README\.md is no regular file"),
    "folder": (member("extra", kind=tarfile.DIRTYPE), r"extra/ is no folder of a database"),
    "folder above": (member("..", kind=tarfile.DIRTYPE), r"\.\./ is no folder of a database"),
    "twice": (member("plan.json", b"{}"), r"it has plan\.json twice"),
    "too large": (member("shards/part-00009.json", bytes(limits.SIDECAR_BYTES + 1)), r"has 1,048,577 bytes; the limit"),
    "of no shard": (member("images/part-00009.parquet", b"x"), r"part-00009\.parquet belongs to no finished shard"),
    "not a sidecar": (member("shards/part-00009.json", b"{}"), r"shards/part-00009\.json is not a sidecar"),
}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_members(packed, tmp_path, name, first):
    extra, said = HOSTILE[name]
    path = with_members(packed, [extra], tmp_path / "x.tar", first)
    with pytest.raises(UserError, match=said) as raised:
        unpack(str(path), str(tmp_path / "in/out"))
    assert str(raised.value).startswith(f"{path} cannot be unpacked: ")
    assert "\n" not in str(raised.value) and str(tmp_path / "in") not in str(raised.value)
    assert [each.name for each in tmp_path.iterdir()] == ["x.tar"]
    assert not os.path.lexists("/tmp/agg-escaped") and not (tmp_path.parent / "escaped").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("plan.json", "it has no plan.json"),
        ("manifest.json", "it has no manifest.json"),
        ("README.md", "the database in it is not finished"),
        ("croissant.json", "the database in it is not finished"),
        ("shards/part-00001.json", "the database in it is not finished"),
        ("images/part-00001.parquet", "it has no images/part-00001.parquet"),
    ],
)
def test_missing_members(packed, tmp_path, name, said):
    path = with_members(packed, [], tmp_path / "x.tar", without=(name,))
    with pytest.raises(UserError, match=f"^{path} cannot be unpacked: {said}"):
        unpack(str(path), str(tmp_path / "out"))
    assert [each.name for each in tmp_path.iterdir()] == ["x.tar"]


@pytest.mark.parametrize(
    "name", ["plan.json", "manifest.json", "README.md", "shards/part-00000.json", "proposals/part-00001.parquet"]
)
def test_changed_members(packed, tmp_path, name):
    with tarfile.open(packed) as tar:
        content = tar.extractfile(name).read()
    changed = content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]
    path = with_members(packed, [member(name, changed)], tmp_path / "x.tar", without=(name,))
    with pytest.raises(UserError, match=f"^{path} cannot be unpacked: "):
        unpack(str(path), str(tmp_path / "out"))
    assert [each.name for each in tmp_path.iterdir()] == ["x.tar"]


def test_every_cut_is_noticed(packed, tmp_path):
    content = packed.read_bytes()
    path = tmp_path / "x.tar"
    # The last block of zeros alone may be missing.
    for length in (0, 1, 511, 512, 513, *range(1024, len(content) - 1024, 5000), len(content) - 1024):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"cannot be unpacked: it is cut off$"):
            unpack(str(path), str(tmp_path / "out"))
    assert [each.name for each in tmp_path.iterdir()] == ["x.tar"]


@pytest.mark.parametrize(
    "content",
    [b"x" * 2000, b"\x1f\x8b" + bytes(2000), header("plan.json", 5)[:-1] + b"x" + bytes(512), bytes(1024)],
    ids=["text", "gzip", "checksum", "empty"],
)
def test_not_a_tar_file(tmp_path, content):
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.tar cannot be unpacked: it (is no plain tar file|has no plan)"):
        unpack(str(tmp_path / "x.tar"), str(tmp_path / "out"))
    assert [each.name for each in tmp_path.iterdir()] == ["x.tar"]


@pytest.mark.parametrize(
    "size", [b"77777777777\0", b"\x80" + bytes(7) + b"\xff\xff\xff\xff", b"-0000000001\0", bytes(12)]
)
def test_sizes_that_no_file_has(tmp_path, size):
    block = bytearray(header("plan.json", 5))
    block[124:136] = size
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    (tmp_path / "x.tar").write_bytes(bytes(block) + bytes(2048))
    with pytest.raises(
        UserError, match=r"cannot be unpacked: (it is no plain tar file|plan\.json has 8,589,934,591 bytes)"
    ):
        unpack(str(tmp_path / "x.tar"), str(tmp_path / "out"))


def test_too_many_files(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "PACKED_FILES", 3)
    with pytest.raises(UserError, match=r"it has more than 3 files$"):
        unpack(str(packed), str(tmp_path / "out"))


def test_full_disk(packed, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("agg_pipeline.database.publishing.unpacking.writing", full)
    with pytest.raises(StorageError, match=r"^cannot write \S+out: No space left on device$"):
        unpack(str(packed), str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_files(tmp_path):
    """A table of 256 MB is read in parts."""
    code = (
        "import resource, sys\n"
        "from agg_pipeline.database.publishing.unpacking import unpack\n"
        "from schemas.errors import UserError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    unpack(sys.argv[1], sys.argv[2])\nexcept UserError as error:\n    print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    size = 256 << 20
    path = tmp_path / "x.tar"
    with path.open("wb") as file:
        file.write(header("proposals/part-00000.parquet", size))
        file.truncate(512 + size + 1024)
    ran = subprocess.run(
        [sys.executable, "-c", code, path, tmp_path / "out"], capture_output=True, text=True, check=True
    )
    said, grown = ran.stdout.splitlines()
    assert said.endswith("it has no plan.json")
    assert int(grown) < 64 << 10


def test_store_of_a_file_in_this_folder(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pack(whole, "toy.tar")
    assert Store(".").names() == ["toy.tar"]
