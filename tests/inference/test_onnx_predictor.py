"""An exported ONNX file as a click model: the predictor's masks, and files that are none."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from pyarrow import parquet

from agg_pipeline.inference.predictor import Predictor
from agg_pipeline.inference.whole_images import WholeImagePredictor
from agg_pipeline.models.adapter import Adapter
from agg_pipeline.models.architecture import ARCHITECTURES
from agg_pipeline.models.exported import write_int8_onnx, write_onnx
from agg_pipeline.models.other_models import make_model, named_model
from agg_pipeline.models.simpleclick import SimpleClick, attach_adapter
from schemas.config import PredictorConfig
from schemas.errors import UserError
from schemas.records import Click, Interaction
from stages.click_model import after_prediction
from tests.e2e.commands import invoke

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

SIZE = 64
CLICKS = (Click(150, 210, True), Click(400, 90, False), Click(170, 260, True))


def made_up_network(adapted):
    torch.manual_seed(0)
    network = SimpleClick(ARCHITECTURES["xtiny"], SIZE).eval()
    if adapted:
        adapter = Adapter(network.arch.dim, network.arch.depth, 0, "qv")
        torch.nn.init.normal_(adapter.table)
        attach_adapter(network, adapter)
    return network


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Paths of a file with an adapter and of one without."""
    folder = tmp_path_factory.mktemp("onnx")
    for name, adapted in (("adapter", True), ("base", False)):
        write_onnx(made_up_network(adapted), folder / f"{name}.onnx")
    return folder


def opened(text):
    return WholeImagePredictor(make_model(named_model(text), "cpu"), text)


def images():
    draws = np.random.default_rng(0)
    return [draws.integers(0, 256, size, dtype=np.uint8) for size in ((300, 420, 3), (500, 280, 3))]


def maps_of(model, granularity):
    """Maps after one to three clicks on two images, each with the prompt and the region that the last ones left."""
    given = [Interaction(image, (), prompt=None, focus=None, granularity=granularity) for image in images()]
    found = []
    for number in range(len(CLICKS)):
        given = [replace(each, clicks=CLICKS[: number + 1]) for each in given]
        predictions = model.predict(given)
        found += [each.probability.full() for each in predictions]
        given = [after_prediction(*pair) for pair in zip(given, predictions, strict=True)]
    return found


@pytest.mark.parametrize(("name", "granularity"), [("adapter", 0.3), ("adapter", 1.0), ("base", None)])
def test_maps_are_the_predictors(files, name, granularity):
    own = Predictor(made_up_network(name == "adapter"), PredictorConfig(input_size=SIZE, flip=False))
    text = f"onnx:{files / name}.onnx" + (f",granularity={granularity}" if granularity else "")
    for found, expected in zip(maps_of(opened(text), None), maps_of(own, granularity), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


def test_facts_say_what_the_file_is(files):
    facts = named_model(f"onnx:{files}/adapter.onnx,granularity=0.25").facts
    weights = sum(each.numel() for each in made_up_network(True).parameters())
    assert facts.input_size == SIZE and facts.settings == {"granularity": 0.25} and len(facts.sha256) == 64
    assert facts.parameters == pytest.approx(weights, rel=0.05)
    assert named_model(f"onnx:{files}/adapter.onnx").facts.settings == {"granularity": 1.0}
    assert named_model(f"onnx:{files}/base.onnx").facts.settings == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("onnx", "needs the path of its file"),
        ("onnx:{}/none.onnx", "agg model export writes one"),
        ("onnx:{}/text.onnx", "is no ONNX file"),
        ("onnx:{}/foreign.onnx", "was not made by agg model export: its inputs are x"),
        ("onnx:{}/apart.onnx", "keeps weights in other files"),
        ("onnx:{}/hidden.onnx", "keeps weights in other files"),
        ("onnx:{}/broken.onnx", "onnxruntime cannot open"),
        ("onnx:{}/base.onnx,granularity=0.5", "has no input granularity"),
        ("onnx:{}/adapter.onnx,granularity=2", "is not a number from 0 to 1"),
        ("onnx:{}/adapter.onnx,flip=true", "has no argument flip"),
    ],
)
def test_what_cannot_be_used_is_one_line(files, text, said):
    (files / "text.onnx").write_text("no model")
    for name, model in foreign_models().items():
        (files / f"{name}.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=said):
        named_model(text.format(files))


def foreign_models():
    """Models that were not exported here, by the names of their files."""
    helper, types = onnx.helper, onnx.TensorProto
    ends = [helper.make_tensor_value_info(name, types.FLOAT, [1]) for name in "xy"]
    apart = helper.make_tensor("w", types.FLOAT, [1], [1.0])
    apart.data_location = types.EXTERNAL
    apart.external_data.add(key="location", value="/dev/zero")
    constant = helper.make_node("Constant", [], ["w"], value=apart)
    inner = helper.make_graph([constant], "inner", [], ends[1:])
    add = helper.make_node("Add", ["x", "w"], ["y"])
    graphs = {
        "foreign": helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:]),
        "apart": helper.make_graph([add], "g", ends[:1], ends[1:], [apart]),
        "hidden": helper.make_graph(
            [helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)], "g", ends[:1], ends[1:]
        ),
        "broken": helper.make_graph([helper.make_node("NoSuchOperator", ["x"], ["y"])], "g", ends[:1], ends[1:]),
    }
    return {name: helper.make_model(graph, ir_version=10) for name, graph in graphs.items()}


def test_a_device_without_onnxruntime_is_one_line(files):
    with pytest.raises(UserError, match="use --device cpu, or install onnxruntime-gpu"):
        make_model(named_model(f"onnx:{files}/base.onnx"), "cuda")


def test_int8_answers_nearly_the_same_and_leaves_the_log_alone(files):
    handlers = [*logging.getLogger().handlers]
    write_int8_onnx(made_up_network(False), files / "int8.onnx")
    assert logging.getLogger().handlers == handlers
    whole, small = (maps_of(opened(f"onnx:{files}/{name}.onnx"), None) for name in ("base", "int8"))
    assert all(np.abs(a - b).max() < 0.1 for a, b in zip(whole, small, strict=True))
    assert (files / "int8.onnx").stat().st_size < 0.6 * (files / "base.onnx").stat().st_size


@pytest.mark.long
def test_clicks_are_the_same_on_twenty_objects(tmp_path):
    file = tmp_path / "graco.onnx"
    assert invoke("model", "export", file, "--format", "onnx").code == 0
    ways = {"own": ("--adapter", "built-in", "--granularity", "1.0", "--no-flip"), "onnx": ("--model", f"onnx:{file}")}
    for name, way in ways.items():
        masks = ("--sample", "20", "--level", "object", "--device", "cpu")
        assert invoke("eval", "run", *masks, *way, "--out", tmp_path / name).code == 0
    own, exported = (clicks_of(tmp_path / name) for name in ways)
    assert len({target for target, *_ in own}) == 20 and own == exported


def clicks_of(run):
    """All clicks of an evaluation, and what each of them reached."""
    names = ("target_id", "click", "row", "col", "iou")
    rows = parquet.read_table(run / "objects.parquet", columns=[*names]).to_pylist()
    return [(row["target_id"], row["click"], row["row"], row["col"], round(row["iou"], 3)) for row in rows]
