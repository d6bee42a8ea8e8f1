"""Files of models that want to run code, fill the memory or hang their reader; each would leave a file behind."""

import io
import json
import math
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

KEY = "backbone.patch_embed.proj.weight"
TABLE = "backbone.gra_embed.weight"


class Touch:
    """Pickles to a call that makes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.proof}",)


def make_all(folder: Path, proof: Path) -> None:
    """Write all of the files into a folder."""
    evil = Touch(proof)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that occur twice, and types of numbers that torch will drop
        _named_code(folder, evil)
        _archives(folder, pickle.dumps(evil, 2))
        _pickles(folder)
        _tensors(folder)
        _safetensors(folder)
        _sparse(folder)


def saved(content: Any) -> bytes:
    """What torch writes for a content."""
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def pickle_of(content: Any) -> bytes:
    """The pickle in what torch writes."""
    return zipfile.ZipFile(io.BytesIO(saved(content))).read("archive/data.pkl")


def archive(*entries: tuple[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive; names may occur twice."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        for name, content in entries:
            file.writestr(zipfile.ZipInfo(name), content, compression)
    return stream.getvalue()


def only_pickle(pickled: bytes) -> bytes:
    """An archive of nothing but a pickle."""
    return archive(("archive/data.pkl", pickled), ("archive/version", b"3\n"))


def call(module: str, name: str, *arguments: Any) -> bytes:
    """A pickle that calls a function."""
    values = b"".join(pickle.dumps(each, 2)[2:-1] for each in arguments)
    return b"\x80\x02c" + f"{module}\n{name}\n(".encode() + values + b"tR."


def safetensors_file(header: Any, body: bytes = b"") -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def adapter_file(metadata: Any, body: bytes = bytes(6400), **tensors: Any) -> bytes:
    """A safetensors file like that of an adapter for xtiny, with a granularity table alone."""
    about = metadata if isinstance(metadata, str) else json.dumps({"format": "agg-model-1", **metadata})
    table = {TABLE: {"dtype": "F32", "shape": [10, 160], "data_offsets": [0, 6400]}}
    return safetensors_file({"__metadata__": {"agg": about}, **table, **tensors}, body)


def _named_code(folder: Path, evil: Touch) -> None:
    state = {KEY: torch.zeros(1)}
    contents = {
        "root": evil,
        "value": {"state_dict": {**state, "x": evil}},
        "config": {"state_dict": state, "config": {"params": {"a": {"value": evil, "type": "x"}}}},
    }
    for name, content in contents.items():
        (folder / f"code-{name}.pth").write_bytes(saved(content))
        torch.save(content, folder / f"code-{name}-legacy.pth", _use_new_zipfile_serialization=False)
        for protocol in (0, 2, 4):
            (folder / f"code-{name}-raw{protocol}.pth").write_bytes(pickle.dumps(evil, protocol))
            (folder / f"code-{name}-zip{protocol}.pth").write_bytes(only_pickle(pickle.dumps(evil, protocol)))
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as file:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            content = pickle.dumps(evil if name == "pickle" else {"protocol_version": 1000, "little_endian": True}, 2)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    (folder / "code-tar.pth").write_bytes(tar.getvalue())
    calls = {
        "walk": ("torch.nn.modules.module", "os.system", f"touch {evil.proof}"),
        "isegm": ("isegm.engine", "system", f"touch {evil.proof}"),
        "hub": ("torch.hub", "load_state_dict_from_url", "http://127.0.0.1:9/x"),
        "load": ("torch.serialization", "load", "/etc/hostname"),
        "getattr": ("builtins", "getattr", 1, "real"),
        "fromfile": ("numpy", "fromfile", "/etc/hostname"),
        "from-file": ("torch._C._VariableFunctions", "from_file", "/etc/hostname"),
        "storage": ("torch", "FloatStorage", 1 << 40),
        "rebuild": ("torch._utils", "_rebuild_tensor_v2", 1, 2, 3, 4),
        "codec": ("_codecs", "encode", "x" * 1000, "utf-32"),
        "control": ("\x1b]0;owned\x07", "x"),
    }
    for name, (module, own, *arguments) in calls.items():
        (folder / f"call-{name}.pth").write_bytes(only_pickle(call(module, own, *arguments)))
    (folder / "code-inst.pth").write_bytes(only_pickle(f"(S'touch {evil.proof}'\nios\nsystem\n.".encode()))


def _archives(folder: Path, evil: bytes) -> None:
    good = pickle_of({"state_dict": {TABLE: torch.zeros(10, 160)}, "config": {}})
    numbers = ("archive/data/0", bytes(6400))
    files = {
        "two": (("archive/data.pkl", good), ("archive/data.pkl", evil), numbers),
        "two-reversed": (("archive/data.pkl", evil), ("archive/data.pkl", good), numbers),
        "two-folders": (("archive/data.pkl", good), ("other/data.pkl", evil), numbers),
        "upper-case": (("archive/DATA.PKL", evil),),
        "short-storage": (("archive/data.pkl", good), ("archive/data/0", b"")),
        "long-storage": (("archive/data.pkl", good), ("archive/data/0", bytes(8000))),
        "no-storage": (("archive/data.pkl", good),),
        "large-pickle": (("archive/data.pkl", b"\x80\x02]" + b"N0" * (9 << 20) + b"."),),
        "script": (("archive/data.pkl", good), ("archive/constants.pkl", good), ("archive/code/x.py", b"import os")),
    }
    for name, entries in files.items():
        (folder / f"zip-{name}.pth").write_bytes(archive(*entries))
    entries = (("archive/data.pkl", good), ("archive/data/0", bytes(1 << 26)))
    (folder / "zip-deflated.pth").write_bytes(archive(*entries, compression=zipfile.ZIP_DEFLATED))
    (folder / "zip-directory.pth").write_bytes(archive(*((f"a/{n}", b"") for n in range(100_000))))
    content = bytearray(archive(("archive/data.pkl", good), numbers))
    place = content.rindex(b"PK\x01\x02")
    content[place + 20 : place + 28] = struct.pack("<II", 0xFFFFFF00, 0xFFFFFF00)
    (folder / "zip-4-gib.pth").write_bytes(content)
    whole = saved({"state_dict": {TABLE: torch.ones(10, 160)}})
    flipped = bytearray(whole)
    flipped[whole.index(torch.ones(4).numpy().tobytes()) + 3] ^= 64
    (folder / "zip-flipped.pth").write_bytes(flipped)
    for name, part in (("cut", whole[:-30]), ("magic", b"PK\x03\x04"), ("noise", b"PK\x03\x04" + b"\x5a" * 4000)):
        (folder / f"zip-{name}.pth").write_bytes(part)


def _pickles(folder: Path) -> None:
    laughs = b"\x80\x02]q\x00(" + b"K\x01" * 10 + b"e"
    for n in range(1, 12):
        laughs += b"]" + b"q" + bytes([n]) + b"(" + (b"h" + bytes([n - 1])) * 10 + b"e"
    calls = b"\x80\x02ctorch\nSize\nq\x00)q\x01" + b"h\x00h\x01R\x85q\x01" * 50_000
    keyed = b"\x80\x02}" + b"X\n\x00\x00\x00state_dict" + laughs[2:] + b"s."
    pickles = {
        "laughs": laughs + b".",
        "laughs-state": keyed,
        "nested-calls": calls + b".",
        "deep-list": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "deep-tuple-key": b"\x80\x02})" + b"\x85" * 100_000 + b"Ns.",
        "memo": b"\x80\x02Nr\xff\xff\xff\xff.",
        "long": b"\x80\x02\x8b\xff\xff\xff\x7f" + bytes(1000) + b".",
        "digits": b"\x80\x02L" + b"9" * 100_000 + b"L\n.",
        "text": b"\x80\x02\x8d" + b"\xff" * 8 + b".",
        "set": b"\x80\x04\x8f(]\x90.",
        "empty": b"",
        "cut": pickle_of({"state_dict": {}})[:20],
        "no-stack": b"\x80\x02R.",
        "no-mark": b"\x80\x02t.",
        "persistent": b"\x80\x02X\x01\x00\x00\x00aQ.",
        "append-to-none": b"\x80\x02NNa.",
    }
    for name, content in pickles.items():
        (folder / f"pickle-{name}.pth").write_bytes(only_pickle(content))
        (folder / f"pickle-{name}-legacy.pth").write_bytes(_legacy_start() + content)


def _legacy_start() -> bytes:
    stream = io.BytesIO()
    torch.save(0, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue().rpartition(pickle.dumps(0, 2))[0]


def _tensors(folder: Path) -> None:
    side = 1 << 18
    one = torch.zeros(1)
    states: dict[str, Any] = {
        "stride-0": {KEY: one.as_strided((side, side), (0, 0)), "backbone.blocks.0.attn.qkv.weight": one},
        "stride-0-half": {"a": one.half().as_strided((side, side), (0, 0))},
        "stride-0-table": {TABLE: one.as_strided((10, 160), (0, 0))},
        "overlapping": {KEY: torch.zeros(100).as_strided((50, 51), (1, 1))},
        "sparse": {KEY: torch.eye(4).to_sparse()},
        "meta": {KEY: torch.zeros(2, 3, 4, 4, device="meta")},
        "complex": {KEY: torch.zeros(2, 3, 4, 4, dtype=torch.complex64)},
        "quantised": {KEY: torch.quantize_per_tensor(torch.zeros(2, 3, 4, 4), 0.1, 0, torch.qint8)},
        "float8": {KEY: torch.zeros(2, 3, 4, 4).to(torch.float8_e4m3fn)},
        "integers": {TABLE: torch.zeros(10, 160, dtype=torch.int64)},
        "empty": {TABLE: torch.zeros(10, 0)},
        "nan": {TABLE: torch.full((10, 160), float("nan"))},
        "too-large": {TABLE: torch.full((10, 160), 1e300, dtype=torch.float64)},
        "number": {KEY: 1},
        "no-text": {1: one},
        "control": {"\x1b[2J": one, TABLE: torch.zeros(10, 160)},
    }
    for name, state in states.items():
        (folder / f"tensor-{name}.pth").write_bytes(saved({"state_dict": state, "config": {}}))
        if name not in ("float8",):
            torch.save(
                {"state_dict": state}, folder / f"tensor-{name}-legacy.pth", _use_new_zipfile_serialization=False
            )
    shared = torch.zeros(320, 8)
    blocks = [f"backbone.blocks.{n}.attn.qkv.lora" for n in range(100)]
    many = {f"{block}_A": shared.view(16, 160) for block in blocks} | {f"{block}_B": shared for block in blocks}
    (folder / "tensor-shared.pth").write_bytes(saved({"state_dict": many}))
    _claimed_numbers(folder)
    digits = {"params": {"num_heads": {"value": 10**5000}}}
    for name, config in (
        ("digits", digits),
        ("list", {"params": [1]}),
        ("key", {"params": {"a": {"value": {1: 2}}}}),
        ("text", "x"),
    ):
        (folder / f"config-{name}.pth").write_bytes(saved({"state_dict": {}, "config": config}))
    numel = pickle_of({"state_dict": {KEY: torch.zeros(9)}})
    for name, size in (
        ("huge", b"J\xff\xff\xff\x7f"),
        ("negative", b"J\xff\xff\xff\xff"),
        ("long", b"\x8a\x10" + b"\x77" * 16),
    ):
        content = numel.replace(b"K\t\x85", size + b"\x85").replace(b"K\ttq", size + b"tq")
        (folder / f"claim-{name}.pth").write_bytes(
            archive(("archive/data.pkl", content), ("archive/data/0", bytes(36)))
        )


def _claimed_numbers(folder: Path) -> None:
    """Shapes and storages that no numbers stand behind."""
    key = b"backbone.blocks.0.attn.qkv.lora_A2"
    phrases = pickle_of({"state_dict": {TABLE: torch.zeros(10, 160), key.decode(): torch.zeros(9)}})
    nine = pickle_of({"state_dict": {KEY: torch.zeros(9)}})
    side, numel = (b"J" + struct.pack("<I", number) for number in (1 << 24, 5 << 24))
    start = phrases.index(key)
    contents = {
        "tensor-no-rows": nine.replace(b"K\t\x85", b"K\0\x85"),
        "tensor-2-63": nine.replace(b"K\t\x85", b"K\0\x8a\x09" + bytes(7) + b"\x80\0\x86").replace(
            b"K\x01\x85", b"K\x01K\x01\x86"
        ),
        "giant-phrases": phrases[:start]
        + phrases[start:]
        .replace(b"K\t\x85", side + b"K\x05\x86")
        .replace(b"K\x01\x85", b"K\x01K\x01\x86")
        .replace(b"K\ttq", numel + b"tq"),
    }
    for name, content in contents.items():
        assert content not in (nine, phrases)
        (folder / f"{name}.pth").write_bytes(archive(("archive/data.pkl", content), ("archive/data/0", bytes(36))))


def _safetensors(folder: Path) -> None:
    def tensor(shape: list[int], end: int, dtype: str = "F32", start: int = 0) -> dict[str, Any]:
        return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}

    nan = np.full(1600, np.nan, np.float32).tobytes()
    files = {
        "header-length": struct.pack("<Q", 2**63 - 1) + b"{}",
        "header-100-mb": struct.pack("<Q", 100_000_001) + b"{}" + b" " * 1000,
        "header-long": safetensors_file(b"{}" + b" " * (5 << 20)),
        "header-deep": safetensors_file(b'{"a":' * 100_000),
        "header-text": safetensors_file(b'{"a": "\xff"}'),
        "shape-huge": safetensors_file({"a": tensor([2**40], 2**42)}),
        "shape-overflow": safetensors_file({"a": tensor([2**63, 2], 0)}),
        "shape-negative": safetensors_file({"a": tensor([-1], 4)}, bytes(4)),
        "overlap": safetensors_file({"a": tensor([1], 4), "b": tensor([1], 4)}, bytes(4)),
        "dtype-unknown": safetensors_file({"a": tensor([1], 4, "Q7")}, bytes(4)),
        "metadata-list": adapter_file("[1]"),
        "metadata-deep": adapter_file("[" * 100_000),
        "metadata-nan": adapter_file('{"projections": "qk", "origin": {"config": {"a": NaN}}}'),
        "metadata-surrogate": adapter_file('{"projections": "\\ud800"}'),
        "metadata-digits": adapter_file(
            '{"projections": "qk", "origin": {"config": {"augment": {"size": ' + "9" * 5000 + "}}}}"
        ),
        "format": adapter_file({"format": ["\x1b"], "projections": "qk"}),
        "projections": adapter_file({"projections": [1]}),
        "origin-list": adapter_file({"projections": "qk", "origin": {"config": {"augment": [1]}}}),
        "origin-proposals": adapter_file({"projections": "qk", "origin": {"proposals": [1]}}),
        "origin-sha256": adapter_file({"projections": "qk", "origin": {"base_sha256": {}}}),
        "table-nan": adapter_file({"projections": "qk"}, nan),
        "giant-rank": adapter_file(
            {"projections": "qk"},
            bytes(7426),
            **{
                "backbone.blocks.0.attn.qkv.lora_B": tensor([1, 1025], 7425, "U8", start=6400),
                "backbone.blocks.0.attn.qkv.lora_A": tensor([1], 7426, "U8", start=7425),
            },
        ),
        "giant-width": safetensors_file({TABLE: tensor([1, 16385], 16385, "U8")}, bytes(16385)),
        "giant-side": safetensors_file({TABLE: tensor([0, 2**36], 0)}),
        "side-2-63": safetensors_file({"a": tensor([0, 2**63], 0)}),
        "side-2-64": safetensors_file({"a": tensor([2**64 - 1, 0], 0)}),
        "sides": safetensors_file({"a": tensor([1] * 5000, 4)}, bytes(4)),
        "positions": safetensors_file(
            {"backbone.pos_embed": tensor([1, 700**2 + 1, 1], 490_001, "U8")}, bytes(490_001)
        ),
        "long-projections": adapter_file({"projections": "q" * 100_000}),
        "long-origin": adapter_file({"projections": "qk", "origin": {"base_sha256": "z" * 100_000}}),
        "no-width": safetensors_file({TABLE: tensor([10, 0], 0)}),
        "no-rank": safetensors_file(
            {
                "backbone.blocks.0.attn.qkv.lora_B": tensor([320, 0], 0),
                "backbone.blocks.0.attn.qkv.lora_A": tensor([0, 160], 0),
            }
        ),
        "nothing": b"",
        "two-bytes": b"\1\2",
    }
    sizes = (-5, 0, 1, 31, 4097, 10**9, True, 2**70, "448", 224.5)
    for size in sizes:
        files[f"size-{size}"] = adapter_file({"projections": "qk", "origin": {"config": {"augment": {"size": size}}}})
    for dtype, width in (("I64", 8), ("BOOL", 1), ("F8_E4M3", 1), ("U16", 2), ("C64", 8)):
        body = bytes(1600 * width)
        files[f"dtype-{dtype}"] = adapter_file(
            {"projections": "qk"}, body, **{TABLE: tensor([10, 160], len(body), dtype)}
        )
    for name, content in files.items():
        (folder / f"{name}.safetensors").write_bytes(content)


def _sparse(folder: Path) -> None:
    """2 GB of numbers of no model, which take nothing on the disk."""
    sides = (50_000, 10_000)
    stream = io.BytesIO()
    torch.save({"state_dict": {"other": torch.zeros(9, 1)}}, stream, _use_new_zipfile_serialization=False)
    long, short, numel = (b"J" + struct.pack("<I", number) for number in (*sides, math.prod(sides)))
    content = stream.getvalue().replace(b"K\tK\x01\x86", long + short + b"\x86").replace(b"K\tN", numel + b"N")
    start = content.removesuffix(struct.pack("<Q", 9) + bytes(36)) + struct.pack("<Q", math.prod(sides))
    header = {"other": {"dtype": "F32", "shape": sides, "data_offsets": [0, 4 * math.prod(sides)]}}
    for name, content in (("sparse.pth", start), ("sparse.safetensors", safetensors_file(header))):
        with (folder / name).open("wb") as file:
            file.write(content)
            file.truncate(len(content) + 4 * math.prod(sides))
