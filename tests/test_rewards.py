import pytest

from engine.rewards import REWARDS


@pytest.mark.parametrize("response, correct, graded", [
    ("so \\boxed{4}", 1.0, 1.0), ("The answer is 4.", 1.0, 0.5), ("so \\boxed{5}", 0.0, -0.5),
    ("The answer is 5.", 0.0, -1.0), ("2 + 2 = 4", 0.0, -1.0),  # the last number of a text is no answer
])  # fmt: skip
def test_rewards_of_right_and_wrong_responses_in_a_box_and_without(response, correct, graded):
    assert REWARDS["correct"]("2+2=?", response, "4", None) == correct
    assert REWARDS["graded"]("2+2=?", response, "4", None) == graded
