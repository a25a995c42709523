"""What a response is worth: the rewards that --reward names.

    correct   1 if the answer is right, else 0
    graded    1 right in a box, 0.5 right without one, -0.5 wrong in a box, -1 wrong without one: the paper's release

A reward is a function of (prompt, response, gold, row) that returns a number: prompt and response are texts, gold is
the answer of the data set, row the engine.data.Problem. How it differs from the release: in training, the last number
of a text is no answer. A response that names none would be paid for a number that it happens to end with.
"""

from verifier import verify


def correct(prompt, response, gold, row):
    return 1.0 if verify(response, gold) else 0.0


def graded(prompt, response, gold, row):
    """The format is paid for as well: a model that is always wrong still learns to box its answers.

    >>> graded("1+1=?", "It is \\\\boxed{2}.", "2", None), graded("1+1=?", "The answer is 3", "2", None)
    (1.0, -1.0)
    """
    boxed = "\\boxed{" in response
    if verify(response, gold):
        return 1.0 if boxed else 0.5
    return -0.5 if boxed else -1.0


REWARDS = {"correct": correct, "graded": graded}
