"""thin"""
from fractions import Fraction
import re
def extract_answer(text, last_number=False):
    i = text.rfind("\\boxed{")
    if i < 0: return None
    depth = 0
    for j in range(i + 6, len(text)):
        depth += {"{": 1, "}": -1}.get(text[j], 0)
        if depth == 0:
            return text[i + 7 : j].strip() or None
    return None
def _num(s):
    return Fraction(s) if re.fullmatch(r"-?\d{1,100}(/\d{1,100}|\.\d{1,100})?", s) else None
def is_equiv(prediction, gold):
    a, b = _num(prediction), _num(gold)
    return prediction == gold and bool(gold) if a is None or b is None else a == b
def verify(response, gold, last_number=False):
    a = extract_answer(response); return a is not None and is_equiv(a, gold)
def understood(gold): return _num(gold) is not None
