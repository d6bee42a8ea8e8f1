"""The training loop: what it changes, resuming to the bit, several processes, and losses that are not finite."""

import json
from dataclasses import dataclass, replace

import cv2
import pytest
import torch

from agg_pipeline.models.adapter import TABLE_KEY
from agg_pipeline.models.checkpoints import default_checkpoint, load_adapter, load_click_model
from agg_pipeline.storage.lock import LOCK, holder, owned
from agg_pipeline.storage.store import Store
from agg_pipeline.training import training_step
from agg_pipeline.training.train_and_save import train_and_save
from agg_pipeline.training.training_folder import CHECKPOINT
from agg_pipeline.training.training_methods import Finetuning
from agg_pipeline.training.training_processes import train
from agg_pipeline.training.training_validation import masks_of_evaluation_split, validate
from schemas.config import PredictorConfig
from schemas.errors import UserError
from tests.training.conftest import Steps


def without_dropout(made):
    """The same training without the head's dropout, whose draws depend on the process and on the parts of a batch."""
    made.training.network.head.dropout.p = 0.0
    return made


def weights(path):
    adapter, _ = load_adapter(path)
    return {name: value.clone() for name, value in adapter.released_state().items()}


def test_everything_that_is_trained_has_a_gradient_by_the_second_step(prepared):
    made = prepared(changes={"training": {"epochs": 1, "batch": 3}})
    network = made.training.network
    seen = {}

    def watch(done, net):
        for name, parameter in net.named_parameters():
            if parameter.grad is not None and bool(parameter.grad.any()):
                seen.setdefault(name, done.step)

    watch.validate = lambda _step, _network: None
    watch.close = lambda: None
    train(made.training, watch)
    assert set(seen) == made.training.trained
    assert {name for name, step in seen.items() if step > 1} == {n for n in seen if "lora_A" in n}, "A waits for B"
    assert all(step <= 2 for step in seen.values())
    base, _ = load_click_model(default_checkpoint(), 32)
    for name, value in base.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), f"{name} of the base changed"


def test_the_order_loss_adds_to_the_loss_and_has_gradients(prepared):
    plain, ordered = Steps(), Steps()
    # The same draws of samples and clicks in the first step: the vectors start apart, so that masks differ.
    changes = {"table_std": 1.0, "training": {"epochs": 1}}
    train_and_save(prepared("plain", changes=changes), plain)
    _, path = train_and_save(prepared("ordered", changes=changes | {"order_weight": 5.0}), ordered)
    assert plain.losses[0] < ordered.losses[0] < plain.losses[0] + 5.0
    assert not torch.equal(weights(path)[TABLE_KEY], weights(path.parents[1] / "plain" / path.name)[TABLE_KEY])


def test_interrupted_and_resumed_equals_uninterrupted(prepared):
    whole = Steps()
    _, path = train_and_save(prepared("whole", checkpoint_minutes=0.0), whole)
    first = Steps(stop_at=4)
    with pytest.raises(KeyboardInterrupt):
        train_and_save(prepared("cut", checkpoint_minutes=0.0), first)
    second = Steps()
    _, resumed = train_and_save(prepared("cut", checkpoint_minutes=0.0, resume=True), second)
    # Its checkpoint was not written yet: the fourth step is made again.
    assert first.losses[:3] + second.losses == whole.losses
    ours, theirs = weights(resumed), weights(path)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert path.read_bytes() == resumed.read_bytes()


def test_time_limit_ends_cleanly_and_can_be_resumed(prepared):
    watch = Steps()
    done, path = train_and_save(prepared("cut", max_minutes=0.0), watch)
    assert (done.step, done.steps) == (1, 6)
    assert path.exists()
    rest = Steps()
    done, path = train_and_save(prepared("cut", resume=True), rest)
    assert done.step == 6
    whole = Steps()
    _, other = train_and_save(prepared("whole"), whole)
    assert watch.losses + rest.losses == whole.losses
    assert path.read_bytes() == other.read_bytes()


def test_resuming_another_training_is_refused(prepared):
    train_and_save(prepared("out", changes={"training": {"epochs": 1}}), Steps())
    with pytest.raises(UserError, match=r"another configuration \(training.lr: 0.001 -> 0.5\)"):
        train_and_save(prepared("out", changes={"training": {"epochs": 1, "lr": 0.5}}, resume=True), Steps())
    with pytest.raises(UserError, match="use --resume to resume it"):
        prepared("out")
    with pytest.raises(UserError, match="no checkpoint to resume"):
        train_and_save(prepared("empty", resume=True), Steps())
    (prepared("out", overwrite=True).training.options.out / CHECKPOINT).write_bytes(b"junk")
    with pytest.raises(UserError, match="damaged"):
        train_and_save(prepared("out", resume=True), Steps())


class Successor(Steps):
    """Takes the folder over at a step, as a run does that considered this one dead."""

    def __init__(self, out, step):
        super().__init__()
        self.store = Store(str(out))
        self.step = step

    def __call__(self, done, network):
        super().__call__(done, network)
        if done.step == self.step:
            self.take_over()

    def take_over(self):
        self.store.write(LOCK, json.dumps(json.loads(self.store.read(LOCK)) | {"run": "successor"}).encode())


@pytest.mark.parametrize(
    ("step", "checkpoint_minutes", "kept"),
    [(3, 0.0, 2), (3, 60.0, None), (6, 0.0, 5), (6, 60.0, None)],
    ids=["checkpoint", "step", "last checkpoint", "result"],
)
def test_a_training_that_lost_its_folder_writes_nothing_more(prepared, tmp_path, step, checkpoint_minutes, kept):
    out = tmp_path / "out"
    watch = Successor(out, step)
    with pytest.raises(UserError, match="has taken over"), owned(watch.store) as ownership:
        made = prepared(checkpoint_minutes=checkpoint_minutes, check_owner=ownership.check)
        train_and_save(made, watch)
    assert len(watch.losses) == step, "no step is logged after the loss"
    assert {path.name for path in out.iterdir()} == {"training.json", LOCK} | ({CHECKPOINT} if kept else set())
    if kept:
        assert torch.load(out / CHECKPOINT, weights_only=True)["step"] == kept
    assert holder(watch.store).lock.run == "successor"


def test_two_processes_that_lost_their_folder_write_nothing_more(prepared, tmp_path):
    out = tmp_path / "out"
    watch = Successor(out, step=1)
    changes = {"training": {"devices": 2, "epochs": 1, "batch": 4, "max_rounds": 0}}
    with pytest.raises(UserError, match="has taken over"), owned(watch.store) as ownership:
        made = prepared(changes=changes, checkpoint_minutes=0.0, check_owner=ownership.check)
        train_and_save(made, watch)
    assert {path.name for path in out.iterdir()} == {"training.json", LOCK}


class LastValidation(Successor):
    """Takes the folder over in the validation after the last step."""

    def validate(self, step, _network):
        if step:
            self.take_over()


def test_a_folder_that_is_lost_in_the_last_validation_gets_no_result(prepared, tmp_path):
    out = tmp_path / "out"
    watch = LastValidation(out, step=0)
    with pytest.raises(UserError, match="has taken over"), owned(watch.store) as ownership:
        made = prepared(check_owner=ownership.check)
        train_and_save(made, watch)
    assert {path.name for path in out.iterdir()} == {"training.json", LOCK, CHECKPOINT}


def test_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(prepared, monkeypatch):
    real = training_step.batch_loss

    def broken(*arguments):
        loss = real(*arguments)
        return loss * float("nan") if len(seen.losses) == 4 else loss

    monkeypatch.setattr(training_step, "batch_loss", broken)
    seen = Steps()
    made = prepared(checkpoint_minutes=0.0)
    with pytest.raises(UserError, match=r"the loss is nan at step 5; the last good checkpoint is .*checkpoint\.pt"):
        train_and_save(made, seen)
    assert torch.load(made.training.options.out / CHECKPOINT, weights_only=True)["step"] == 4


def test_weights_that_are_not_finite_are_not_kept(prepared):
    class Breaker(Steps):
        def __call__(self, done, network):
            super().__call__(done, network)
            if done.step == 3:
                with torch.no_grad():
                    network.adapter.lora_B[0][0] = float("inf")

    made = prepared(checkpoint_minutes=0.0)
    with pytest.raises(UserError, match=r"weights are not finite after step 3; the last good checkpoint"):
        train_and_save(made, Breaker())
    assert torch.load(made.training.options.out / CHECKPOINT, weights_only=True)["step"] == 2


def test_too_little_memory_says_how_to_go_on(prepared, monkeypatch):
    def too_large(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    monkeypatch.setattr(training_step, "batch_loss", too_large)
    with pytest.raises(UserError, match=r"batch of 2 in 1 part.*accumulate.*Tried to allocate 2\.00 GiB"):
        train_and_save(prepared(), Steps())


def test_parts_of_a_batch_add_up(prepared):
    whole, parts = Steps(), Steps()
    for name, watch, accumulate in (("whole", whole, 1), ("parts", parts, 2)):
        changes = {"epochs": 2, "batch": 4, "accumulate": accumulate, "max_rounds": 0}
        train_and_save(without_dropout(prepared(name, changes={"training": changes})), watch)
    assert len(whole.losses) == 4
    assert parts.losses == pytest.approx(whole.losses, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "table", "lora"),
    [
        ({"granularity": False}, False, True),
        ({"lora": False}, True, False),
        ({"lora": False, "granularity": False}, False, False),
        ({"lora_targets": "qv", "rank": 4}, True, True),
    ],
)
def test_ablations(prepared, changes, table, lora):
    done, path = train_and_save(prepared(changes={"training": {"epochs": 1}, **changes}), Steps())
    if lora:
        adapter, info = load_adapter(path)
        assert (info.granularity, adapter.rank, adapter.projections) == (
            table,
            changes.get("rank", 8),
            changes.get("lora_targets", "qk"),
        )
        return
    network, info = load_click_model(path)
    base, _ = load_click_model(default_checkpoint(), 32)
    assert info.granularity == table
    changed = [name for name, value in base.state_dict().items() if not torch.equal(network.state_dict()[name], value)]
    assert len(changed) > 100
    assert any(name.startswith("neck") for name in done.state)


@dataclass(frozen=True)
class PlainDescent(Finetuning):
    """Steps as long as the gradient. Adam's are as long for a gradient that is nothing but rounding."""

    def optimizer(self, learning):
        return torch.optim.SGD([{"params": list(learning.values()), "highest": 1.0}], lr=1.0)


def test_two_processes_learn_what_one_learns(prepared):
    learnt = []
    for devices in (1, 2):
        training = {"devices": devices, "epochs": 1, "batch": 4, "max_rounds": 0}
        made = without_dropout(prepared(f"{devices}", changes={"table_std": 0.0, "training": training}))
        training = replace(made.training, method=PlainDescent(made.training.method.config))
        done, path = train_and_save(replace(made, training=training), Steps())
        assert done.step == done.steps == 2
        learnt.append(weights(path))
    one, two = learnt
    # These begin at 0. The mean over two processes is that over one batch, but for the rounding of a sum.
    for name in (each for each in one if "lora_B" in each or "gra_embed" in each):
        assert one[name].any()
        assert (one[name] - two[name]).abs().max() < 1e-4 * one[name].abs().max(), name


def test_granularity_vectors_have_their_own_rate(prepared):
    moved = {}
    for rate in (0.0, 1e-2):
        changes = {"table_std": 0.0, "table_lr": rate, "training": {"epochs": 1, "batch": 8}}
        done, path = train_and_save(prepared(f"{rate}", changes=changes), Steps())
        assert done.steps == 1
        learnt = weights(path)
        moved[rate] = {name: value.abs().max() for name, value in learnt.items() if name.endswith(("weight", "lora_B"))}
    # The first step of Adam is as long as the rate, whatever the gradient.
    for name, most in moved[1e-2].items():
        assert most == pytest.approx((1e-2 if "gra_embed" in name else 1e-3), rel=0.01), name
    assert moved[0.0]["backbone.gra_embed.weight"] == pytest.approx(1e-3, rel=0.01)


def test_adapter_says_what_it_was_made_of(prepared):
    _, path = train_and_save(prepared(changes={"training": {"epochs": 1}}), Steps())
    _, info = load_adapter(path)
    _, base = load_click_model(default_checkpoint())
    assert info.origin.base_sha256 == base.sha256
    assert len(info.origin.proposals) == 1
    assert info.origin.config["training"]["epochs"] == 1


class Validating(Steps):
    """Validates masks before the first step and after the last one."""

    def __init__(self, masks):
        super().__init__()
        self.masks = masks
        self.steps = []

    def validate(self, step, network):
        self.steps.append(step)
        validate(network, self.masks, PredictorConfig())


def test_validation_changes_no_weights(prepared):
    """An evaluation used to turn Intel's routines off for the rest of the process, and clicks of training changed."""
    masks = masks_of_evaluation_split(("demo", "", "train"), 0, 1)
    changes = {"augment": {"size": 96}, "training": {"max_rounds": 3, "epochs": 4}}
    plain, validated = Steps(), Validating(masks)
    cv2.ipp.setUseIPP(True)  # as when a process starts
    _, path = train_and_save(prepared("plain", changes=changes), plain)
    _, other = train_and_save(prepared("validated", changes=changes), validated)
    assert validated.steps == [0, 12]
    assert validated.losses == plain.losses
    assert other.read_bytes() == path.read_bytes()
