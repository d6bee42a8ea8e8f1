"""The example of docs/guide/pages.md for notebooks, and what its figures show."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from agg_pipeline import load_model, open_proposals
from agg_pipeline.datasets.registry import open_dataset
from schemas.errors import UserError
from tests.e2e.commands import invoke
from tests.toy_run import make_database

GUIDE = Path(__file__).parents[2] / "docs/guide/pages.md"
SVG = "{http://www.w3.org/2000/svg}"


def texts(figure):
    return [each.text for each in ElementTree.fromstring(figure._repr_svg_()).iter(f"{SVG}text")]


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook") / "database"
    make_database(folder)
    return open_proposals(str(folder))


def test_the_example_of_the_guide(tmp_path, monkeypatch):
    (example,) = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    out = tmp_path / "runs/demo/proposals"
    made = invoke("proposals", "run", "--split", "1", "--workers", "1", "--out", out, "--gallery-images", "0")
    assert made.code in (0, None), made
    scene = open_dataset("demo", "", "1")
    Image.fromarray(scene.read(scene.entries[0]).pixels).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    left = {}
    exec(compile(example, "pages.md", "exec"), left)
    assert (tmp_path / "mask.svg").read_text() == left["figure"].svg
    assert texts(left["figure"])[0] == "granularity 0.4"


def test_all_masks_of_an_image_from_fine_to_coarse(database):
    image = database.images()["image_id"][0].as_py()
    rows = database.of_image(image).to_pylist()
    title, *below = texts(database.show(image))
    assert title == f"{image}: {len(rows)} masks"
    rows.sort(key=lambda row: (row["granularity"], row["area"], row["proposal_id"]))
    assert below == [f"{row['granularity']:.2f} {row['kind']} of {row['instance_id']}" for row in rows]
    clicks = sum(len(row["clicks"] or ()) for row in rows)
    assert clicks == database.show(image).svg.count("<circle")


def test_images_and_folders_that_are_not_there_are_named(database, tmp_path):
    with pytest.raises(UserError, match="has no image"):
        database.show("nothing")
    image = database.images()["image_id"][0].as_py()
    with pytest.raises(UserError, match="does not have the photograph"):
        database.show(image, data=str(tmp_path))


def test_a_session_shows_its_last_prediction_or_the_one_asked_for():
    pixels = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    session = load_model(device="cpu").open(pixels)
    with pytest.raises(UserError, match="give clicks"):
        session.show()
    clicks = [(20, 30, True), (50, 80, False)]
    mask = session.predict(clicks, 0.3) > 0.5
    assert texts(session.show()) == ["granularity 0.3", f"{mask.sum()} pixels, 2 clicks"]
    coarser = session.show(granularity=0.9)
    assert texts(coarser)[0] == "granularity 0.9"
    assert coarser.svg.count("<circle") == 2
    assert texts(session.show([(1, 1, True)]))[0] == "no granularity"
    with pytest.raises(UserError, match="outside"):
        session.show([(-1, 0, True)])
