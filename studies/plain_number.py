"""A reward for sums that copying the question does not earn: 1 where the answer is right and is written as a number.

    python train.py --reward studies/plain_number.py:plain_number ...

The verifier compares values, and the value of "36 - 8" is 28. So a model that is asked "What is 36 - 8?" and answers
"The answer is 36 - 8." is right, and a model that is trained on such questions finds that out (docs/results.md).
"""

import re

from verifier import extract_answer, verify


def plain_number(prompt, response, gold, row):
    """1 where the answer is right and is digits, else 0."""
    answer = extract_answer(response) or ""
    written_out = re.fullmatch(r"\$?-?[0-9]+\$?", answer)
    return float(bool(written_out) and verify(response, gold))
