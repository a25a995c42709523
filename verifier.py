r"""The answer checker: is the answer in this response the gold answer? It is training's reward and evaluation's grade:

    verify(response, gold)  =  is_equiv(extract_answer(response), gold)

1. Extract. The strongest candidates are what is boxed or called the final answer; then comes what is called the answer;
   mere words ("the largest one") are the weakest. Of the strongest the last wins (engine/phrases.py: the wording).
2. Read both sides as trees, without labels such as "the answer is" (engine/latex.py: text -> tree).
3. Compare the trees by RULES, kind by kind (engine/values.py: numbers of a tree, equality of trees).

"A for B" means: the answer is A, the gold is B. Only a decimal gold may be met by rounding, or any by 12 right digits.

    gold               right                                           wrong
    -----------------  ----------------------------------------------  ----------------------------------------------
    exact value        1.5 for 1\frac12; 0.0833333333333333 for 1/12   0.333 for 1/3; 12346 for 12345
    decimal            1/3 or 0.333 for 0.33, to its last digit        0.3 for 0.33; 1/7 for 0.1, which is one digit
    percent            50, 0.5 or 50% for 50%; 50% for 50, 0.5, 1/2    50 for 0.5; 0.5 for 50; 1% for 1
    with a unit        5 for 5 cm; 5 cm for 5; \pi/6 for 30°           5 m for 5 cm; 5 million for 5
    choice             (B), option B or "B: 7" for B; A、B、D for ABD    AB or "A or B" for A
    list, set          2, 1 for 1, 2; 1\pm2 for 3, -1                  1 for 1, 2; 1, 2 for 1
    tuple, matrix      \begin{pmatrix}1\\2\end{pmatrix} for (1,2)      (2,1) or [1,2] for (1,2)
    interval           x>3 or \{x \mid x>3\} for (3,\infty)            x>=3 or x<3 for (3,\infty)
    named, equation    5 for x=5; 2x+y=3 for y=3-2x                    y=5 or 5=6 for x=5; x+1=6 for 6
    expression         x(x+1) for x^2+x                                2k for 2n; x for |x|
    ratio, time, base  2:4 for 1:2; 3:30 for 3:30 pm; 101 for 101_2    5 for 5 am; 101_2 for 101
    words              "The East" for east                             "not east" for east
    unknown grammar    the same text: a sum, an integral, a limit      anything for an empty gold; an empty answer

What a model prints is data: nothing is run, what cannot be read is False, and work is bounded by length, not by
timeouts. A new kind goes into the tables of engine/latex.py, and into RULES where comparison by value is not enough.
"""

import re

from engine import phrases
from engine.latex import DEGREE, FORMAL, LIMIT, ONLY_WORDS, bare, has, in_radians, read
from engine.values import OutOfWork, Values, answers, relations

NEAR_END = 20_000  # characters in which last_number looks
MARKS = 100  # of "the answer is" that are considered, the last ones
LONG, STATED, FINAL = range(3)  # strengths: a candidate is (strength, place in the response, answer)


# 1. Extract.
def extract_answer(text, last_number=False, thinking=False):
    r"""The answer that a response gives, or None.

    last_number: where nothing marks an answer, the last number or formula is it; for evaluation only.
    thinking: the prompt ended in an open <think>, so all before </think> is hidden, and without </think> all.

    >>> extract_answer(r"<think>\boxed{4}</think> Hence $\boxed{1}$ and $\boxed{2}$.")
    '1, 2'
    """
    if not isinstance(text, str):
        return None
    text = phrases.shown("<think>" + text if thinking else text)
    candidates = boxed(text) + stated(text)
    if candidates:
        _, _, answer = max(candidates)  # the strongest, and of these the last
        return answer
    formulas = list(phrases.LAST.finditer(text[-NEAR_END:])) if last_number else []
    return formulas[-1][0].rstrip(",") if formulas else None


def boxed(text):
    """The last box, with those that are joined to it: several are a list, never "either one"."""
    boxes = phrases.find_boxes(text)  # each with start, end and content
    # An empty last box is a remark: "I have put it in \boxed{}". But where it continues a list, no box counts.
    while len(boxes) > 1 and phrases.is_empty(boxes[-1].content) and not phrases.joined(text, *boxes[-2:]):
        boxes.pop()
    if not boxes or phrases.is_empty(boxes[-1].content):
        return []
    # From the last box backwards, as long as "and", a comma or the like joins them.
    parts = [boxes.pop()]
    while boxes and phrases.joined(text, boxes[-1], parts[-1]):
        parts.append(boxes.pop())
    different = dict.fromkeys(phrases.in_formula(text, box) for box in reversed(parts))  # 5 and 5 is one answer
    return [(FINAL, parts[0].start, ", ".join(different))]


def stated(text):
    """What follows each "the answer is", "Answer:" and the like, unless it is a remark."""
    candidates = []
    for mark in list(phrases.MARK.finditer(text))[-MARKS:]:
        start = phrases.FILLER.match(text, mark.end()).end()  # behind "therefore" and the like
        on_new_line = "\n" in text[mark.start() : start]
        answer = phrases.first_clause(text[start : start + LIMIT], on_new_line)
        if not answer or phrases.REMARK.match(answer):
            continue
        strength = FINAL if mark["final"] else STATED
        if phrases.WORDS.fullmatch(answer):
            strength = LONG
        candidates.append((strength, mark.start(), answer))
    return candidates


# 2. Read.
def stripped(side):
    r"""Without labels, also one within another: `The answer is $\text{Total: } 5$` is 5."""
    return phrases.unlabelled(phrases.undressed(phrases.unlabelled(phrases.undressed(side))))


INTEGER = re.compile(r"-?[0-9]{1,1000}")
EQUATED = re.compile(r"(?<![A-Za-z])[A-J]\s*=\s*[A-J](?![A-Za-z])")  # A = B is no choice


def same_choice(prediction, gold):
    """True or False where the letters of options decide, None where they do not."""
    letters, text = phrases.choice(prediction)  # "B: 7" has the letters {B} and the text 7; 7 has neither
    gold_letters, gold_text = phrases.choice(gold)
    if letters and gold_letters:
        return letters == gold_letters and (not text or not gold_text or is_equiv(text, gold_text))
    if (text and is_equiv(text, gold)) or (gold_text and is_equiv(prediction, gold_text)):  # "B: 7" for 7
        return True
    # A letter is no number: neither B for 7 nor 7 for B; and "A = B" chooses nothing.
    if letters and INTEGER.fullmatch(gold):
        return False
    if gold_letters and (INTEGER.fullmatch(prediction) or EQUATED.search(prediction)):
        return False
    return None


# 3. Compare.
def is_equiv(prediction, gold):
    """Is the predicted answer equal to the gold one? See the table above."""
    if not isinstance(prediction, str) or not isinstance(gold, str):
        return False
    prediction, gold = phrases.undressed(prediction), phrases.undressed(gold)
    if not prediction or not gold:
        return False
    if prediction == gold:
        return True
    if max(len(prediction), len(gold)) > LIMIT:  # too long to be parsed, and not the same text
        return False
    if INTEGER.fullmatch(prediction) and INTEGER.fullmatch(gold):  # half of all pairs
        return int(prediction) == int(gold)
    decided = same_choice(prediction, gold)
    if decided is not None:
        return decided
    # A text may have two readings ("1,234"), and \log two meanings: any that makes them equal will do.
    predictions, golds = read(stripped(prediction)), read(stripped(gold))
    log_bases = (None, 10) if "log" in prediction + gold else (None,)
    try:
        return any(equal(p, g, Values(equal, base)) for base in log_bases for g in golds for p in predictions)
    except OutOfWork:
        return False


def equal(p, g, values):
    """Is the prediction p right, where the gold is g? Both are Nodes; the first rule that knows a kind decides."""
    values.spend(2)
    if p == g:
        return True
    for kinds, rule in RULES:
        if p.kind in kinds or g.kind in kinds:
            return rule(p, g, values)
    return answers(p, g, values)


def same_words(p, g, values):
    """The same words, without case and articles; items in any order. False for formulas that are not understood."""
    sides = []
    for node in (p, g):
        if node.kind != "text" or FORMAL.search(node.value):
            return False
        text = re.sub(r"\b(?:an?|the)\s+(?=\w)", "", node.value.lower())
        items = [re.findall(r"\w+|[^\w\s.]", item) for item in re.split(r"[,;，；]|\band\b", text)]
        sides.append(sorted(filter(None, items)))
    return sides[0] == sides[1]


def labels(p, g, values):
    r"""A unit, or a last `k \in Z`. It may be missing on one side (but for am, pm and radix), and never differ."""
    if p.kind == g.kind:
        return p.value == g.value and equal(p.items[0], g.items[0], values)
    # One side has a label that the other lacks.
    labelled, other = (p, g) if p.kind in ("unit", "where") else (g, p)
    if labelled.value in ("am", "pm") and other.kind == "number":  # 5 is no 5 am, though 3:30 is 3:30 am
        return False
    if p.kind == "unit" and p.value.startswith("radix"):  # 101_2 is no 101, though 101 is for 101_2
        return False
    # 30° is \pi/6, if only one side is written with \pi.
    if DEGREE in (p.value, g.value) and has(p, "symbol", r"\pi") != has(g, "symbol", r"\pi"):
        return equal(in_radians(p), in_radians(g), values)
    return equal(bare(p, labelled.kind), bare(g, labelled.kind), values)


def percents(p, g, values):
    """50% is 0.5, whichever side says %. For a gold of 50%, 50 is right, too; for a gold of 50, 50% is, as 50 > 1."""
    bare_p, bare_g = bare(p, "percent"), bare(g, "percent")
    if p.kind == g.kind:
        return equal(bare_p, bare_g, values)
    if "unit" in (p.kind, g.kind):
        return False
    if g.kind == "percent":
        return equal(p, bare_g, values) or values.same(p, g)
    return values.same(p, g) or (values.above_one(g) and equal(bare_p, g, values))  # no 0.5% for 0.5


# The first rule that knows p's or g's kind decides, so what stands outside comes first: a list of percents is a list, a
# tuple may have a unit. Expressions, the rest, are compared by value.
RULES = (
    ({"text"}, same_words),
    ({"where"}, labels),
    ({"relation"}, relations),
    ({"list", "set", "union"}, answers),
    ({"percent"}, percents),
    ({"unit"}, labels),
    ({"tuple", "either"}, answers),
)


def verify(response, gold, last_number=False, thinking=False):
    """Is the answer that this response gives the gold one? last_number and thinking as for extract_answer."""
    answer = extract_answer(response, last_number, thinking)
    return answer is not None and is_equiv(answer, gold)


def understood(gold):
    r"""Is this gold more than signs to compare one by one? \frac{1}{2} and east are, \frac{1}{ is not."""
    if not isinstance(gold, str) or not gold.strip() or len(gold) > LIMIT:
        return False
    letters, _ = phrases.choice(gold)
    nodes = read(stripped(gold))
    return bool(letters) or any(node.kind != "text" or ONLY_WORDS.fullmatch(node.value) for node in nodes)
