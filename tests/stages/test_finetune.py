"""The loss against recorded values, and the clicks of training."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from schemas.records import Click
from stages.finetune import (
    MAX_CLICKS,
    corrective_clicks,
    initial_clicks,
    lower_rows,
    normalised_focal_loss,
    order_loss,
    parting_clicks,
    with_corrections,
)
from stages.opencv import without_ipp


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.golden
def test_recorded_losses_and_gradients(shared):
    data = np.load(shared / "golden" / "losses.npz")
    logits = torch.from_numpy(data["logits"]).requires_grad_()
    losses = normalised_focal_loss(logits, torch.from_numpy(data["target"]))
    np.testing.assert_allclose(losses.detach(), data["loss"], rtol=0, atol=1e-5)
    losses.mean().backward()
    gradient = next(data[name] for name in data.files if "grad" in name)
    np.testing.assert_allclose(logits.grad, gradient, rtol=0, atol=1e-5)


def test_loss_by_hand():
    # Two pixels of the object with probability 1/2: weight 1/4 each, scaled to 1; 0.5 * log 2.
    loss = normalised_focal_loss(torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1, 2))
    assert loss.item() == pytest.approx(0.5 * np.log(2))
    # A pixel that does not count changes nothing; nor does another image of the batch.
    logits = torch.tensor([[[[0.0, 0.0, 9.0]]], [[[5.0, -5.0, 1.0]]]])
    target = torch.tensor([[[[1.0, 1.0, -1.0]]], [[[1.0, 0.0, 1.0]]]])
    assert normalised_focal_loss(logits, target)[0].item() == pytest.approx(0.5 * np.log(2))


def test_loss_without_a_counted_pixel_is_zero():
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    loss = normalised_focal_loss(logits, -torch.ones(1, 1, 2, 2))
    loss.sum().backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(1, 1, 2, 2))


def test_order_loss_by_hand():
    # Two finer masks of four pixels: one inside the coarser mask, one with half its pixels outside.
    coarser = torch.full((2, 1, 2, 4), -50.0)
    coarser[:, :, :, :3] = 50.0
    finer = torch.full((2, 1, 2, 4), -50.0)
    finer[0, :, :, :2] = 50.0
    finer[1, :, :, 2:] = 50.0
    torch.testing.assert_close(order_loss(finer, coarser), torch.tensor([0.0, 0.5]))
    assert order_loss(coarser, coarser).tolist() == [0.0, 0.0]


def test_order_loss_draws_masks_towards_their_order():
    finer, coarser = torch.zeros(1, 1, 1, 1, requires_grad=True), torch.full((1, 1, 1, 1), -1.0, requires_grad=True)
    order_loss(finer, coarser).sum().backward()
    assert finer.grad.item() > 0 > coarser.grad.item()


def test_lower_rows_are_below_if_there_are_any():
    rows = torch.tensor([-1, 0, 1, 5] * 200)
    drawn = lower_rows(rows, rng()).view(-1, 4)
    assert [sorted(set(column.tolist())) for column in drawn.T] == [[-1], [0], [0], [0, 1, 2, 3, 4]]


@pytest.mark.parametrize("decay", [0.8, 0.5])
def test_counts_of_initial_clicks_fall_by_the_decay(decay):
    mask, others = np.zeros((2, 60, 60), bool)
    mask[10:40, 10:40] = True
    counts = Counter()
    for seed in range(4000):
        clicks = initial_clicks(mask, others, rng(seed), decay)
        positive = sum(click.positive for click in clicks)
        counts["positive", positive] += 1
        counts["negative", len(clicks) - positive] += 1
    for sign, least in (("positive", 1), ("negative", 0)):
        ratios = [counts[sign, least + n + 1] / counts[sign, least + n] for n in range(4)]
        assert np.mean(ratios) == pytest.approx(decay, abs=0.06)
        assert counts[sign, least] / 4000 == pytest.approx(1 - decay, abs=0.03)
    assert max(number for _, number in counts) <= MAX_CLICKS


def test_initial_clicks_lie_where_they_belong():
    mask, others = np.zeros((2, 80, 80), bool)
    mask[20:50, 20:50] = True
    others[60:75, 60:75] = True
    inner = ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=3)
    ring = ndimage.binary_dilation(mask, np.ones((3, 3)), iterations=3) & ~mask
    where = Counter()
    for seed in range(1500):
        for click in initial_clicks(mask, others, rng(seed)):
            place = click[:2]
            if click.positive:
                assert mask[place]
                where["inner" if inner[place] else "edge"] += 1
            else:
                assert not mask[place]
                where["other" if others[place] else "ring" if ring[place] else "background"] += 1
    negative = where["other"] + where["ring"] + where["background"]
    assert where["other"] / negative == pytest.approx(0.4, abs=0.03)
    assert where["ring"] / negative == pytest.approx(0.5 + 0.1 * ring.sum() / (~(mask | others)).sum(), abs=0.03)
    assert where["edge"] / (where["edge"] + where["inner"]) == pytest.approx(0.1 * (1 - inner.sum() / 900), abs=0.02)


def test_parting_clicks_are_on_both_sides():
    mask, others = np.zeros((2, 80, 80), bool)
    mask[20:50, 20:50] = True
    others[40:75, 50:75] = True
    negatives = Counter()
    for seed in range(500):
        clicks = parting_clicks(mask, others, rng(seed), 0.5)
        assert all((mask if click.positive else others)[click.row, click.col] for click in clicks)
        assert any(click.positive for click in clicks)
        negatives[sum(not click.positive for click in clicks)] += 1
    assert 0 not in negatives
    assert negatives[1] / 500 == pytest.approx(0.5, abs=0.08)


def test_small_masks_are_not_eroded_away():
    mask, others = np.zeros((2, 30, 30), bool)
    mask[5:12, 5:12] = True
    places = {click[:2] for seed in range(200) for click in initial_clicks(mask, others, rng(seed)) if click.positive}
    assert places == {(row, col) for row in range(5, 12) for col in range(5, 12)}


def test_empty_mask_has_no_positive_click():
    nothing = np.zeros((30, 30), bool)
    clicks = [click for seed in range(50) for click in initial_clicks(nothing, nothing, rng(seed))]
    assert clicks
    assert not any(click.positive for click in clicks)


def corrective_click(probability, target, rng):
    (click,) = corrective_clicks(probability[None], target[None], rng)
    return click


@settings(deadline=None, max_examples=60)
@given(arrays(np.bool_, (9, 11)), arrays(np.int8, (9, 11), elements=st.integers(-1, 1)), st.integers(0, 9))
def test_corrective_click_is_on_the_larger_error(predicted, target, seed):
    click = corrective_click(predicted.astype(np.float32), target, rng(seed))
    missing, surplus = (target == 1) & ~predicted, (target == 0) & predicted
    if click is None:
        assert not missing.any()
        assert not surplus.any()
        return
    assert (missing if click.positive else surplus)[click.row, click.col]


def test_corrective_click_lies_deep_in_the_error():
    target = np.zeros((60, 60), np.int8)
    target[10:50, 10:50] = 1
    clicks = [corrective_click(np.zeros((60, 60), np.float32), target, rng(seed)) for seed in range(100)]
    assert all(click.positive and 19 <= click.row <= 40 and 19 <= click.col <= 40 for click in clicks)
    assert len(set(clicks)) > 50
    # 0.49 is the threshold.
    assert corrective_click(np.where(target == 1, 0.495, 0).astype(np.float32), target, rng()) is None


def test_corrective_click_is_drawn_by_distances_in_the_whole_image():
    def deep(error):
        with without_ipp():
            distance = cv2.distanceTransform(np.pad(error, 1).view(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        return distance.max(), np.argwhere(distance > distance.max() / 2)

    for seed in range(60):
        noise = cv2.resize(rng(seed).random((2, 7, 9), np.float32).transpose(1, 2, 0), (80, 60)) > 0.6
        predicted, target = noise[..., 0], noise[..., 1].astype(np.int8)
        target[:, : seed % 30] = 0
        (missing, inside), (surplus, outside) = deep((target == 1) & ~predicted), deep((target == 0) & predicted)
        pixels = inside if missing > surplus else outside
        row, col = pixels[rng(seed).integers(len(pixels))]
        expected = Click(int(row), int(col), bool(missing > surplus))
        assert corrective_click(predicted.astype(np.float32), target, rng(seed)) == expected


def test_corrective_clicks_of_a_batch_are_those_of_one_after_the_other_however_many_threads_search():
    probability = rng(1).random((7, 30, 40), np.float32)
    target = rng(2).integers(-1, 2, (7, 30, 40)).astype(np.int8)
    target[3] = -1
    one = rng(3)
    expected = [corrective_click(*each, one) for each in zip(probability, target, strict=True)]
    assert [click is None for click in expected] == [number == 3 for number in range(7)]
    assert corrective_clicks(probability, target, rng(3)) == expected
    with ThreadPoolExecutor(3) as pool:
        assert corrective_clicks(probability, target, rng(3), pool) == expected


def test_iterative_clicks_overwrite_the_last_slots():
    full = [Click(n, 0, True) for n in range(24)]
    rounds = [Click(99, 9, True), Click(98, 9, True)]
    assert [click.row for click in with_corrections(full, rounds)] == [*range(22), 98, 99]
    few = [Click(1, 1, True)]
    assert with_corrections(few, [Click(2, 2, False), None]) == [Click(1, 1, True), Click(2, 2, False)]


@given(st.integers(0, 24), st.integers(0, 24), st.lists(st.sampled_from([True, False, None]), max_size=3))
def test_iterative_clicks_are_those_of_a_table_of_slots(positives, negatives, signs):
    initial = [Click(n, 0, True) for n in range(positives)] + [Click(n, 1, False) for n in range(negatives)]
    corrections = [None if sign is None else Click(100 + n, 2, sign) for n, sign in enumerate(signs)]
    table = {(True, n): initial[n] for n in range(positives)}
    table |= {(False, n): initial[positives + n] for n in range(negatives)}
    for n, click in enumerate(corrections):
        if click is not None:
            table[click.positive, 23 - n] = click
    assert sorted(with_corrections(initial, corrections)) == sorted(table.values())


def test_corrective_clicks_do_not_depend_on_intels_routines():
    def clicks(intels):
        cv2.ipp.setUseIPP(intels)
        drawn = []
        for seed in range(40):
            holes = rng(seed).integers(0, 226, (60, 2))
            target = np.zeros((226, 226), np.int8)
            target[20:200, 30:180] = 1
            target[holes[:, 0], holes[:, 1]] = 0
            drawn.append(corrective_click(np.zeros(target.shape, np.float32), target, rng(seed)))
        assert cv2.ipp.useIPP() == intels, "the switch is as it was"
        return drawn

    before = cv2.ipp.useIPP()
    try:
        assert clicks(True) == clicks(False)
    finally:
        cv2.ipp.setUseIPP(before)
