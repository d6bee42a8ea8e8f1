"""How long a training would take: its rounds of clicks, its loaders, and the cores that they share."""

from dataclasses import replace

import pytest
import torch

from agg_pipeline.training import step_times
from agg_pipeline.training.step_times import Cost, estimate_training, step_seconds
from schemas.training import TrainingConfig


class Clock:
    """Stands for the time module; processor time is twice the time."""

    now = 50.0

    def perf_counter(self):
        return self.now

    def process_time(self):
        return 2 * self.now


@pytest.mark.parametrize(
    ("loaders", "devices", "cores", "seconds"),
    [
        # Nobody prepares the batch meanwhile.
        (0, 1, 8, 1.5),
        # Prepared while the step before is made.
        (1, 1, 8, 1.0),
        # Two threads and a loader on two cores: 2.5 seconds of work.
        (1, 1, 2, 1.25),
        (1, 2, 4, 1.25),
        (4, 1, 1, 2.5),
    ],
)
def test_a_step_and_its_batch_share_the_cores(loaders, devices, cores, seconds):
    config = TrainingConfig(loaders=loaders, devices=devices)
    assert step_seconds(Cost(1.0, 2.0), Cost(0.5, 0.5), config, cores) == seconds


def test_slow_loaders_decide():
    config = TrainingConfig(loaders=2)
    assert step_seconds(Cost(1.0, 1.0), Cost(6.0, 6.0), config, 16) == 3.0


@pytest.fixture
def clock(monkeypatch):
    """A clock by which a step takes a second and 0.5 s for each of its rounds, and a batch a quarter."""
    clock = Clock()
    made = []

    def update(_fabric, _network, _optimizer, batch, step, epoch, method, config):
        rounds = step_times.rounds_of(config, method, step, epoch)
        made.append((len(batch), rounds))
        clock.now += 1 + 0.5 * rounds

    def collate(samples):
        clock.now += 0.25
        return samples

    monkeypatch.setattr(step_times, "time", clock)
    monkeypatch.setattr(step_times, "update", update)
    monkeypatch.setattr(step_times, "collate", collate)
    clock.made = made
    return clock


def test_the_rounds_of_all_steps_are_counted_as_the_seed_draws_them(prepared, clock):
    made = prepared(writes=False, changes={"training": {"max_rounds": 3, "epochs": 20}})
    found = estimate_training(made, validation_minutes=2.0)
    config, method = made.training.config, made.training.method
    rounds = [step_times.rounds_of(config, method, step, step / 3) for step in range(60)]
    assert set(rounds) == {0, 1, 2, 3}
    assert (found.steps, found.done, found.validations) == (60, 0, 0)
    assert found.per_step == pytest.approx(1.25 + 0.5 * sum(rounds) / 60)
    assert {rounds for _, rounds in clock.made} == {0, 3}
    assert {samples for samples, _ in clock.made} == {2}
    assert not made.training.options.out.exists()


def test_validation_steps_and_the_limit_of_time(prepared, clock, monkeypatch):
    validated = []

    def validate(_network, targets, _config):
        validated.append(len(targets))
        clock.now += 2 * len(targets)

    monkeypatch.setattr(step_times, "validate", validate)
    changes = {"training": {"max_rounds": 0, "epochs": 100}}
    made = replace(prepared(writes=False, changes=changes), validation=tuple(range(10)))
    found = estimate_training(made, validation_minutes=1.0)
    # 300 steps of 1.25 s are six minutes and a quarter; the first and the last step have a validation of their own.
    assert (found.per_step, found.validations, found.per_validation) == (1.25, 6 + 2, 20.0)
    assert validated == [1, 3]
    limited = replace(prepared(writes=False, changes=changes, max_minutes=3.0), validation=tuple(range(10)))
    assert estimate_training(limited, validation_minutes=1.0).validations == 3 + 2


def test_real_steps_leave_no_file_and_a_finite_time(prepared, tmp_path):
    threads = torch.get_num_threads()
    try:
        found = estimate_training(prepared(writes=False, changes={"training": {"loaders": 0}}), validation_minutes=2.0)
    finally:
        torch.set_num_threads(threads)
    assert (found.steps, found.done) == (6, 0)
    assert 0 < found.per_step < 60
    assert list(tmp_path.iterdir()) == []
