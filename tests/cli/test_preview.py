"""``agg proposals preview`` on a generated scene, with the built-in model, and with input that cannot be used."""

import shlex

import numpy as np
import pytest
from PIL import Image

from agg_pipeline.cli.main import main
from agg_pipeline.demo.scene import render
from schemas.crop import area
from tests.e2e.commands import error_of, invoke

SMALL = ("--input-size", "128", "--device", "cpu")


@pytest.fixture(scope="module")
def scene():
    """A scene and its largest object."""
    made = render(0, 0)
    return made.pixels, max(made.objects, key=lambda each: area(each.mask)).mask


@pytest.fixture
def files(tmp_path, monkeypatch, scene):
    """The working folder, with a photograph and the mask of an object in it."""
    pixels, mask = scene
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    Image.fromarray(mask.full()).save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def preview(*words):
    return invoke("proposals", "preview", *words)


def test_a_mask_gives_a_page(files):
    done = preview("photo.png", "--mask", "mask.png", "--seed", "3", *SMALL)
    assert done.code == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.endswith(" of the object; open preview.html\n")
    page = (files / "preview.html").read_text()
    assert "The mask of the object is mask.png." in page
    assert "Step 0: a positive click" in page
    # The command of the page is one that there is, with the options that were given.
    words = shlex.split(page.partition("<code>agg proposals run --dataset")[2].partition("</code>")[0])
    assert words[:3] == ["folder", "--data", "FOLDER"]
    assert {"--seed", "3", "--input-size", "128"} <= set(words)
    run = main.get_command(None, "proposals").get_command(None, "run")
    run.make_context("run", ["--dataset", *words])


def test_a_box_gives_a_page_that_says_that_its_mask_is_a_prediction(files, scene):
    box = scene[1].box
    asked = f"{box.left},{box.top},{box.width},{box.height}"
    done = preview("photo.png", "--box", asked, "--out", "new/folder/box.html", *SMALL)
    assert done.code == 0, done.stderr
    assert done.stderr == "note: The mask of the object is a prediction of the model, because only a box was given.\n"
    assert "The mask of the object is a prediction" in (files / "new/folder/box.html").read_text()


def test_a_page_is_replaced_only_with_overwrite(files):
    (files / "page.html").write_text("mine")
    words = ("photo.png", "--mask", "mask.png", "--out", "page.html", *SMALL)
    said = "page.html is there already; choose another name, or use --overwrite to replace it"
    assert error_of(preview(*words)) == said
    assert (files / "page.html").read_text() == "mine"
    assert preview(*words, "--overwrite").code == 0
    assert (files / "page.html").read_text().startswith("<!doctype html>")


EITHER = "give the object either as --box LEFT,TOP,WIDTH,HEIGHT or as --mask FILE"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("none.png --mask mask.png", "none.png does not exist"),
        ("photo.png --mask none.png", "none.png does not exist"),
        ("text.txt --mask mask.png", "text.txt is no JPEG, PNG, TIFF, WebP, BMP, GIF, PPM or JPEG 2000 image"),
        ("photo.png --mask text.txt", "text.txt is no JPEG, PNG, TIFF, WebP, BMP, GIF, PPM or JPEG 2000 image"),
        ("photo.png", EITHER),
        ("photo.png --mask mask.png --box 1,1,9,9", EITHER),
        ("photo.png --box 0,0,1,99999", "--box 0,0,1,99999 leaves the photograph, which is {width} pixels wide and"),
        (
            "photo.png --box {width},0,1,1",
            "--box {width},0,1,1 leaves the photograph, which is {width} pixels wide and",
        ),
        ("photo.png --box=-1,0,5,5", "--box -1,0,5,5 leaves the photograph, which is {width} pixels wide and"),
        ("photo.png --box 5,5,0,9", "--box 5,5,0,9 has no pixel; width and height are at least 1"),
        ("photo.png --box 5,5,9,-9", "--box 5,5,9,-9 has no pixel; width and height are at least 1"),
        ("photo.png --box 5,5,9", "--box 5,5,9 is no box; give four whole numbers, LEFT,TOP,WIDTH,HEIGHT"),
        ("photo.png --box a,b,c,d", "--box a,b,c,d is no box; give four whole numbers, LEFT,TOP,WIDTH,HEIGHT"),
        ("photo.png --mask small.png", "small.png is 20x30, its image {height}x{width} (rows x columns)"),
        ("photo.png --mask empty.png", "empty.png marks no object: all its pixels are black"),
        ("photo.png --mask mask.png --out there/", "--out there/: name a file, such as preview.html"),
        ("photo.png --mask mask.png --out ''", "--out is empty: name a file, such as preview.html"),
        (
            "photo.png --mask mask.png --out ./photo.png --overwrite",
            "--out ./photo.png is also a file that is read; choose another name",
        ),
        (
            "photo.png --mask mask.png --out link.png --overwrite",
            "--out link.png is also a file that is read; choose another name",
        ),
        ("photo.png --mask mask.png --config gt.toml", "gt.toml sets the key source; remove it"),
        ("photo.png --mask mask.png --checkpoint none.pth", "none.pth"),
        ("photo.png --mask mask.png --preset ours", "'ours' is not one of 'paper', 'parts', 'released'."),
    ],
)
def test_what_cannot_be_used_is_one_line(words, said, files, scene):
    height, width = scene[0].shape[:2]
    (files / "text.txt").write_text("no image")
    (files / "gt.toml").write_text('source = "gt"\n')
    (files / "link.png").symlink_to("mask.png")
    Image.fromarray(np.ones((20, 30), np.uint8)).save(files / "small.png")
    Image.fromarray(np.zeros((height, width), np.uint8)).save(files / "empty.png")
    before = {path: path.read_bytes() for path in files.iterdir()}
    error = error_of(preview(*shlex.split(words.format(width=width, height=height)), *SMALL))
    assert said.format(width=width, height=height) in error
    assert {path: path.read_bytes() for path in files.iterdir()} == before


def test_a_box_without_an_object_is_an_error(files, monkeypatch):
    nothing = np.zeros((64, 64, 3), np.uint8)
    Image.fromarray(nothing).save(files / "black.png")
    monkeypatch.setattr("stages.click_model.FOREGROUND", 1.0)
    error = error_of(preview("black.png", "--box", "10,10,20,20", *SMALL))
    assert error == "the model finds no object in the box; give its mask as --mask FILE, or another box"
