"""The pieces of an update, each against a hand-worked example."""

from types import SimpleNamespace

import pytest
import torch

from engine import gradients


def test_the_log_has_the_mean_over_the_updates_of_a_step():
    assert gradients.mean_over([{"loss": 1.0, "kl": 2.0}, {"loss": 3.0, "kl": 4.0}]) == {"loss": 2.0, "kl": 3.0}


@pytest.mark.parametrize("steps, rates", [(0, [2, 2, 2]), (1, [2, 2, 2]), (2, [1, 2, 2]), (4, [0.5, 1, 1.5, 2, 2])])
def test_the_rate_rises_in_equal_parts_and_reaches_its_height_in_the_last_step_of_the_warm_up(steps, rates):
    c = SimpleNamespace(lr=2.0, warmup_steps=steps)
    assert [gradients.warmed_up_rate(c, step) for step in range(len(rates))] == rates


def test_each_update_takes_an_equal_run_of_rows():
    rows = gradients.rows_of_updates(SimpleNamespace(mask=torch.ones(6, 2, dtype=torch.bool)), 3)
    assert [own.tolist() for own in rows] == [[0, 1], [2, 3], [4, 5]]


def test_the_loss_counts_what_was_sampled_or_of_that_only_responses_that_were_not_cut():
    mask = torch.tensor([[True, False], [True, True]])
    rollout = SimpleNamespace(mask=mask, finished=torch.tensor([True, False]))
    assert gradients.learnt_tokens(rollout, mask_truncated=False).tolist() == [[True, False], [True, True]]
    assert gradients.learnt_tokens(rollout, mask_truncated=True).tolist() == [[True, False], [False, False]]


@pytest.mark.parametrize("most, left", [(2.5, [1.5, 2.0]), (10.0, [3.0, 4.0])])
def test_the_norm_is_that_before_the_clip_which_scales_only_larger_ones(most, left):
    policy = torch.nn.Linear(2, 1, bias=False)
    policy.weight.grad = torch.tensor([[3.0, 4.0]])
    assert gradients.clip(policy, most) == 5.0
    torch.testing.assert_close(policy.weight.grad, torch.tensor([left]))
