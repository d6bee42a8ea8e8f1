"""What a training is made on: flags of the backend, and the device in what must be the same to resume it."""

import pytest
import torch

from agg_pipeline import load_model
from agg_pipeline.cli.config_options import resolve_recipe
from agg_pipeline.inference.predictor import open_predictor
from agg_pipeline.models import backend
from agg_pipeline.models.checkpoints import default_checkpoint
from agg_pipeline.models.model_files import describe_model
from agg_pipeline.training.finetune import FinetuneInputs, prepare
from agg_pipeline.training.train_and_save import train_and_save
from agg_pipeline.training.training_folder import TrainingOptions, comparable
from agg_pipeline.training.training_processes import choose_devices
from schemas.config import PredictorConfig
from schemas.resolve import override
from schemas.training import FinetuneConfig, PretrainConfig, TrainingConfig

EXACT = ("highest", False, False, True)


def flags():
    cudnn = torch.backends.cudnn
    return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic


def set_flags(precision, allow_tf32, benchmark, deterministic):
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = allow_tf32
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cudnn.deterministic = deterministic


@pytest.fixture
def inexact():
    """Flags as a user's program may have set them; they are restored after the test."""
    before = flags()
    set_flags("high", True, True, False)
    yield
    set_flags(*before)


@pytest.mark.usefixtures("inexact")
def test_a_workers_predictor_computes_exactly():
    files, _ = describe_model(default_checkpoint(), "", None)
    open_predictor(files, PredictorConfig())
    assert flags() == EXACT


@pytest.mark.usefixtures("inexact")
def test_load_model_computes_exactly():
    load_model()
    assert flags() == EXACT


class Steps:
    """Remembers the flags at each step."""

    def __init__(self):
        self.flags = []
        self.validated = []

    def __call__(self, _done, _network):
        self.flags.append(flags())

    def validate(self, _step, _network):
        self.validated.append(flags())

    def close(self):
        pass


@pytest.mark.usefixtures("inexact")
def test_a_training_computes_exactly_from_its_first_validation_on(proposals, data, config, tmp_path):
    config = override(config, {"training": {"epochs": 1, "batch": 5, "max_rounds": 0}})
    inputs = FinetuneInputs((str(proposals),), {"": str(data)}, str(default_checkpoint()))
    prepared = prepare(config, inputs, TrainingOptions(tmp_path / "out", validation_masks=0))
    steps = Steps()
    train_and_save(prepared, steps)
    assert steps.validated == [EXACT, EXACT]
    assert steps.flags == [EXACT]


@pytest.mark.parametrize(
    ("capability", "precision", "chosen"),
    [
        (None, "auto", ("cpu", "32-true")),
        ((7, 5), "auto", ("cuda", "32-true")),
        ((9, 0), "auto", ("cuda", "bf16-mixed")),
        ((9, 0), "32-true", ("cuda", "32-true")),
        (None, "bf16-mixed", ("cpu", "bf16-mixed")),
    ],
)
def test_precision_follows_the_device(monkeypatch, capability, precision, chosen):
    monkeypatch.setattr(backend, "usable_gpus", lambda: (0, "none") if capability is None else (1, ""))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _number: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _number: "GPU")
    config, words = choose_devices(TrainingConfig(precision=precision))
    assert (config.device, config.precision) == chosen
    assert words.endswith(f", {chosen[1]}")


def test_the_recipe_of_the_paper_lets_the_device_decide():
    assert resolve_recipe(FinetuneConfig(), "finetune", "paper", {}).training.precision == "auto"


@pytest.mark.parametrize("config", [FinetuneConfig(), PretrainConfig()])
def test_which_gpu_of_several_trains_does_not_matter(config):
    def on(device):
        return comparable(override(config, {"training": {"device": device}}))

    assert on("cuda:0") == on("cuda:1") == on("cuda")
    assert on("cuda") != on("cpu")
    assert (on("cuda")["training"]["device"], on("cpu")["training"]["device"]) == ("cuda", "cpu")
