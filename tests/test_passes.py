"""How often a step calls the model, with VERL and without."""

import math

import pytest
from bench.verl_cost import make_state, step


@pytest.fixture
def state():
    return lambda **options: make_state(layers=2, width=64, vocabulary=23, new_tokens=12, stride=2, **options)


def test_verl_needs_no_forward_pass_of_its_own(state):
    for mini_batches in (1, 2):
        s = state(mini_batches=mini_batches)
        s.config.shaping = "verl"
        on, _, with_verl = step(s, 0, verl=True)
        s.config.shaping = "none"
        off, _, without = step(s, 0, verl=False)
        assert with_verl == without
        assert on["er"] > 1 and math.isnan(off["er"])  # the metrics were there, and were not
        assert on["tokens"] == off["tokens"] == 8 * 4 * 12


def test_one_update_per_rollout_makes_no_scoring_pass(state):
    _, _, (without_gradients, training) = step(state(mini_batches=1), 0, verl=True)
    assert (without_gradients, training) == (12, 1)  # prompts, then 11 tokens one by one; the update
    _, _, (without_gradients, training) = step(state(mini_batches=2), 0, verl=True)
    assert (without_gradients, training) == (13, 2)  # with two updates, one pass for the old log-probs
