r"""The answer checker: is the answer in this response the gold answer? Training's reward and evaluation's grade:

    verify(response, gold)  =  is_equiv(extract_answer(response), gold)

In RLVR the verifier is the reward: a false positive is a lesson in cheating, a false negative a lesson lost.

    >>> verify(r"So $x = \frac{6}{4}$, which is \boxed{1\frac12}.", "3/2")
    True
    >>> verify(r"It is \boxed{17} or \boxed{18}.", "17")
    False

1. Extract. A response holds candidates: what is boxed or called the final answer is stronger than "the answer is", and
   that than a long sentence. Of the strongest the last wins. A remark ("this answer is correct") is no candidate.
2. Read both sides (engine/latex.py: text -> tree), without what is only a label: $, "the answer is", a unit, a name.
3. Compare kind by kind, by RULES at the end (engine/values.py: numbers of a tree, equality of trees).

    accepted as equal                                       refused
    ------------------------------------------------------  -----------------------------------------------------------
    exact values: 1\frac12, 1.5; \sqrt8, 2\sqrt2; 9, 3^2    near misses, however near: 12345, 12346; 0.333 for 1/3
    rounding, where the gold is a decimal, to the gold's    coarser rounding: 0.3 for 0.33; 0 for 1.6e-19; rounding of
      last digit: 1/3 or 0.333 for 0.33; 12 digits or         a gold such as 0.5 (one digit), 2.0, \frac13, \sqrt2
      more, right to the last: 0.0833333333333333 for 1/12
    gold 50%: 50%, 50, 0.5; answer 50%: gold 50, 0.5, 1/2   0.5 for 50 and 50 for 0.5, where neither says %
    5 cm, \$5, 5 apples for 5, and the reverse; 30° for 30  5 cm for 5 m; \$5 for 5 cents; 5 million, 5 tenths, 5 more
      and for \pi/6; \log as \ln or as \log_{10}              for 5; 5m, a product, for 5
    choices: (B), B., b, option B, "B: 7"; A、B、D for ABD   more letters or fewer; "A or B"; "A. 5 B. 6"; where both
      "B: 7" for a gold 7                                     sides carry a text, another text
    lists and sets in any order; 1\pm2 for 3,-1; for 1, 2   one of them, one more; a list of guesses for one value;
      x=1, y=2 and y=2, x=1; for (1,2), too                   2, 1 for x=1, y=2
    tuples in order; vectors, and matrices as [[..], [..]]  (1,2) for (2,1), for [1,2], for \{1,2\}
    (3,\infty), x>3, 3<x, \{x \mid x>3\}; unions; |x|<1;    x>=3, x<3, y>3 for x>3; x for |x| and for \sqrt{x^2}
      x>1 and x<3 for (1,3); 2x+2y>6 for x+y>3              x>1 or x<3 for (1,3)
    5 for x=5, and the reverse; a+b=5 for 5; 2x+y=3 for     5=6; x=x; y=5 for x=5; x+1=6 for 6; 5 for a line x+y=5
      y=3-2x; P(2,-3) for (2,-3)                            Q(2,-3) for P(2,-3)
    x(x+1) for x^2+x; 2k for 2k, k \in Z                    other letters: 2k for 2n, x for 5; k \in N for k \in Z
    1:2, 2:4, 1/2; 2:4:6 for 1:2:3; 3:30 for 3:30 pm;       3:30 am for 3:30 pm; 5 for 5 am; 101_2 for 101;
      101 for 101_2; 1 for 1 \pmod 3                          5 \pmod 3 for 5
    words, whatever case, article or \text: "The East"      words with anything more or less: "not east", "Team" for
    a gold that cannot be parsed: the same text               "Team A"; anything for an empty gold; an empty answer

Not known, so that such a gold is only its own text: sums, integrals, limits; products of matrices; 100 cm for 1 m; 2x>6
for (3,\infty); unions that could be joined; 4 \pmod 3 as 1 \pmod 3; 0.\overline{142857}; ]a, b[. A new bracket, macro
or unit goes into its table in engine/latex.py, a new Node into RULES. What a model prints is data: nothing is run, and
what cannot be read is False. The cost is bounded by the length of the text, without timeouts; threads are safe.
"""

import re

from engine.latex import (
    DEGREE, FORMAL, FUNCTIONS, GREEK, LIMIT, bare, choice, find_boxes, has, in_radians, is_words, read)  # fmt: skip
from engine.values import OutOfWork, Values, answers, magnitude, relations, size

MARKS = 100  # of "the answer is" that are considered, the last ones
TAIL = 200_000  # characters of a response that are searched, from its end: longer than any model answers


# 1. Extract.
TAG = r"(?:think|thinking|thoughts?|reasoning|reflection|scratchpad)>"
THOUGHT = re.compile(rf"<{TAG}.*?(?:</{TAG}|\Z)", re.I | re.S)
SPECIAL = re.compile(r"<[|｜][^<>|｜]{1,40}[|｜]>|</?s>")  # <|im_end|>
# What announces an answer: "the answer is", "Answer:", 答案是; `final` is what claims to be the last word.
MARK = re.compile(
    r"(?P<final><(?:final_)?answer>|####|最[终后]答案(?:应[该当]?|就|即)?\s*(?:[是为:：]|等于)"
    r"|(?<![A-Za-z])final\s+ans(?:wer)?[\s*_}]*(?:is\b|equals\b|[-=]+>|[:：=→—]|\n|(?=\$|\\[\[(]))[:：]?)"
    r"|(?<![A-Za-z])ans(?:wers?)?[\s*_}]*(?:(?:to|for|of)\s[^.\n]{1,60}?\s)?"
    r"(?:(?:must |should |would |(?:comes|turns) out to )be\b|is\b|are\b|equals\b|[-=]+>|[:：=→])"
    r"|(?-i:(?<![A-Za-z])(?:Answer|ANSWER))[\s*_}]*(?=\$|\\[\[(])|(?:\*\*|#\s*)answer[*_:\s]*\n"
    r"|(?:correct|best) (?:option|choice|letter)[\s*_]*(?:is\b|:)|choose(?: option)?(?=\s+[(*]*[A-J]\b)"
    r"|(?:(?:hence|thus|so|therefore),?\s+(?:option\s+)?|(?<![a-z])option\s+)"
    r"(?=\(?[A-J]\)?\sis\s(?:the\s)?(?:correct|answer))"
    r"|答案[】\]]|(?=(?<![A-Z])[A-J]\s?项正确)|答案(?:应[该当]?|就|则|便|即)?\s*(?:[是为:：]|等于)|正确(?:的)?选项[是为:：]|(?:答案|故|因此|所以|应)选择?"
    r"|(?<!不)选择?(?=[\s:：*(]*[A-J])|(?<![解回问])答[:：]", re.I)  # fmt: skip
FILLER = re.compile(  # between the mark and the answer
    r"[\s*_:：,}]*(?:(?:therefore|thus|simply|just|indeed|equal to|given by|found to be|that (?=there|the )"
    r"|approximately|exactly|precisely|clearly|then|option"
    r"|choice)(?![A-Za-z])[\s:,*]*)*", re.I)  # fmt: skip
# What is said about an answer instead of giving it, and long sentences, which give one only if nothing else does.
REMARK = re.compile(
    r"(?:also |always |actually |definitely |indeed )?(?:(?:in)?correct|right|wrong|final|verified|confirmed|unique"
    r"|reasonable|consistent|(?:in)?valid|the (?:one|same|only|correct|right|final)|in|within|inside|not|based|boxed"
    r"|as (?:follows|above|required|shown|below|expected)|clear|shown|what|that|found|derived|expected|obvious|complete"
    r"|obtained|enclosed|put|accurate|ready|here|below|above|supported|checked|now|provided|written|stated|reached"
    r"|thus an?|too|an? [a-z]+ of)(?![A-Za-z])"
    r"|正确|错|唯一|对的|合理|最终|成立|符合|经", re.I)  # fmt: skip
PROSE = re.compile(r"(?:(?:an?|the)\s[A-Za-z\s'-]+|[A-Za-z]+(?:[\s'-]+[A-Za-z]+){3,})[^0-9\\$^=]*")
DISPLAY = re.compile(r"\s*(?:\\\[(.*?)\\\]|\$\$(.*?)\$\$)", re.S)  # \[ 5 \]
LIST_MARK = re.compile(r"\s*(?:[-*•+]|\d{1,2}[.)])\s+(?=\S)")  # the 1. of "1. 45" is no answer
OPTIONS = re.compile(r"(?<![A-Za-z])[A-J](?=[.:、]\s)")  # of "A. 5 B. 6"
# Where the answer stops and the sentence goes on; `aside` only behind a value, since words may go on so.
CLAUSE_END = re.compile(
    r"[.。](?:\s|$)|。|[!?！？;；](?=\s|$)|,?\s(?:which|because|since|so|where|who)\s|,\s(?:not|as|or about)\s"
    r"|</(?:final_)?answer>|\sis\s(?:the\s)?(?:correct|answer)|[，,](?:因为|所以|其中|经)|\*\*(?:\s|$)"
    r"|\s[(\[](?:(?!or\b|not\b|and\b|but\b)[a-z]{2,}\b|i\.e\.)"
    r"|(?P<aside>,\s+(?!(?:or|and|sin|cos|tan|cot|sec|csc|log|ln|sqrt|pi|arc\w+)\b)[a-z]{2,}"
    r"|,\s+(?:and\s+[a-z]{2,}|I\s|i\.e)|\s(?:as|and (?:this|we|that|so|it|the))\s"
    r"|\s:\)|\s[-–—]+\s+(?=[A-Za-z]{2})|\s*—\s*(?=[a-z]{2}))", re.I)  # fmt: skip
VALUE = re.compile(r"[0-9]|\\[a-zA-Z]|\A[\s(*]*[A-J][\s)*.:]*\Z")
SAID = re.compile(  # The total is 12; Volume: 12; \text{the minimum is } 5; \text{Center } (3,5)
    r"(?:\\text\s*\{\s*)?(?=It\s|[A-Za-z ]*[a-z]{3})([A-Za-z]{2}[A-Za-z, $]{1,60}?)\s*"
    r"(?:(?:[:：=]|\b(?:is|are|equals|be|get|has|have|needs?|pays|costs)\b(?: equal to)?)[\s}*]*"
    r"(?=.*(?:[0-9]|\\(?:pi|sqrt|infty|emptyset)))"
    r"|(?<=point|enter|ertex|focus)\s*\}?(?=\s*\())", re.S)  # fmt: skip
# "not five: 5" does not say 5, and alpha = 5 keeps its name.
NOT_SAID = {*GREEK, *FUNCTIONS, *"not nor neither never no without if unless than except wrong incorrect root".split()}
SENTENCES, STATED, FINAL = range(3)  # strengths: a candidate is (strength, place in the response, answer)
EDGES = ' *_`"“”.:：!！?？;；,，。~✓✔✅∎□'
JOINT = re.compile(  # between two boxes that make one answer: a comma, `and`, x =, the label of the next part
    r"(?:[\s,，、;；.$&{}]|\\(?:text|q?quad|[,; ()\[\]]))*(and|or|和|或|及)?(?:[\s}$]|\\(?:q?quad|[,; (\[]))*"
    r"((?:\*{0,2}[(（](?:[1-9a-e]|i{1,3}|iv)[)）]\*{0,2}|part [1-9a-e]:?|第[一二三四]空[:：])"
    r"[\s$]*(?:\\[(\[]\s*)?)?(?:[A-Za-z](?:_?\d)?\s*=\s*)?\$?", re.I)  # fmt: skip
NO_ANSWER = re.compile(r"(?:\\?[lc]?dots|[.\s_…]|your|final|the|answer|here|\\text|[{}])*", re.I)  # \boxed{...}
MINUS_BEFORE = re.compile(r"(?:^|[\s=$(:]|\\[\[(])-$|(?:[=$(]|\\[\[(])\s*-\s*$")
FACTOR_AFTER = re.compile(  # \pi, ^2, %, x: what belongs to the box before it
    r"\s*(?:\\?%|[_^]\s*(?:\{[^{}]{1,20}\}|\\?\w+)|\\pi(?![a-z])|\\sqrt\s*(?:\{[^{}]*\}|\d)|!(?=\s*\$)"
    r"|[a-z](?=\s*[$^]))"
)
LAST = re.compile(  # a formula, a matrix or a number
    r"\$\$[^$]{1,500}\$\$|\$[^$\n]{1,200}\$|\\\([^\n]{1,200}?\\\)|\\\[.{1,500}?\\\]"
    r"|\\begin\{([pbv]?matrix)\}.{1,500}?\\end\{\1\}|-?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?", re.A | re.S)  # fmt: skip


def extract_answer(text, last_number=False, thinking=False):
    r"""The answer that a response gives, or None.

    last_number: where nothing marks an answer, the last number or formula is it; for evaluation only.
    thinking: the prompt ended in an open <think>, so all before </think> is hidden, and without </think> all.

    >>> extract_answer(r"<think>\boxed{4}</think> Hence $\boxed{1}$ and $\boxed{2}$.")
    '1, 2'
    >>> extract_answer("The answer is 42. I am sure that this answer is correct.")
    '42'
    """
    if not isinstance(text, str):
        return None
    # Without </think> all after <think> is hidden, and without <think> all before </think>.
    text = THOUGHT.sub("", "<think>" + text if thinking else text)
    text = re.split(f"</{TAG}", text, flags=re.I)[-1]
    text = SPECIAL.sub("\n", text[-TAIL:])  # a special token ends a line
    candidates = boxed(text) + stated(text)
    if candidates:
        return max(candidates)[-1]  # the strongest, and of these the last
    last = [found[0] for found in LAST.finditer(text[-TAIL // 10 :])] if last_number else []
    return last[-1].rstrip(",") if last else None


def boxed(text):
    """The last box, with those that are joined to it: several are a list, never "either one"."""
    boxes = find_boxes(text)  # (start, end, content)
    # "I have put it in \boxed{}" is a remark; an empty box that continues a list takes the answer back.
    while len(boxes) > 1 and NO_ANSWER.fullmatch(boxes[-1][2]) and not joined(text, *boxes[-2:]):
        boxes.pop()
    if not boxes or NO_ANSWER.fullmatch(boxes[-1][2]):
        return []
    parts = [boxes.pop()]
    while boxes and joined(text, boxes[-1], parts[-1]):
        parts.append(boxes.pop())
    answers = dict.fromkeys(in_formula(text, box) for box in reversed(parts))  # one answer boxed twice is one answer
    return [(FINAL, parts[0][0], ", ".join(answers))]


def joined(text, box, after):
    """Does nothing but a comma, `and` or a name stand between two boxes?"""
    gap = text[box[1] : after[0]]
    joint = JOINT.fullmatch(gap) if len(gap) <= 40 else None
    return joint and ("\n" not in gap or joint[1] or joint[2])


def in_formula(text, box):
    r"""The content of a box with what belongs to it: -\boxed{5} is -5, and \boxed{5}\pi is 5\pi."""
    start, end, content = box
    minus = MINUS_BEFORE.search(text[max(0, start - 10) : start])
    factor = FACTOR_AFTER.match(text, end)
    if (minus or factor) and not content.isalnum():
        content = f"({content})"
    return ("-" if minus else "") + content + (factor[0] if factor else "")


def stated(text):
    """What follows each mark, unless it is a remark."""
    found = []
    for mark in list(MARK.finditer(text))[-MARKS:]:
        start = FILLER.match(text, mark.end()).end()
        answer = clause(text[start : start + LIMIT], new_line="\n" in text[mark.start() : start])
        if not answer or REMARK.match(answer):
            continue
        strength = FINAL if mark["final"] else STATED
        found.append((SENTENCES if PROSE.fullmatch(answer) else strength, mark.start(), answer))
    return found


def clause(text, new_line):
    """The answer at the start of a text: a displayed formula, or the first clause of the first line."""
    display = DISPLAY.match(text)
    if display:
        return (display[1] or display[2] or "").strip()
    item = LIST_MARK.match(text) if new_line else None
    line = text[item.end() if item else 0 :].split("\n", 1)[0]
    if len(set(OPTIONS.findall(line))) < 2:  # else all of "A. 5 B. 6"
        for end in CLAUSE_END.finditer(line):
            if not end["aside"] or VALUE.search(line[: end.start()]):
                line = line[: end.start()]
                break
    line = "".join(c for c in line if ord(c) < 0x1F000).strip(EDGES)  # no emoji
    return unlabelled(line).strip(EDGES)


# 2. Read.
INSIDE = r"\{((?:[^{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*)\}"
WRAPPED = re.compile(
    rf"\$\$([^$]*)\$\$|\$([^$]*)(?<!\\)\$|\"([^\"]*)\"|'([^']*)'|`([^`]*)`|\\(?:text|boxed|fbox)\s*{INSIDE}", re.S
)
EQUATED = re.compile(r"(?<![A-Za-z])[A-J]\s*=\s*[A-J](?![A-Za-z])")  # A = B
INTEGER = re.compile(r"-?[0-9]{1,1000}")


def same_choice(prediction, gold):
    """True or False where letters decide, None where they do not."""
    p, g = choice(prediction), choice(gold)
    if p and g:
        return p[0] == g[0] and (not p[1] or not g[1] or is_equiv(p[1], g[1]))
    if p and p[1] and is_equiv(p[1], gold) or g and g[1] and is_equiv(prediction, g[1]):
        return True
    other = gold if p else prediction
    if (p or g) and INTEGER.fullmatch(other) or g and EQUATED.search(prediction):  # C is no 25, and A=B no choice
        return False
    return None


# 3. Compare.
def is_equiv(prediction, gold):
    """Is the predicted answer equal to the gold one? See the table above."""
    if not isinstance(prediction, str) or not isinstance(gold, str):
        return False
    prediction, gold = undressed(prediction), undressed(gold)
    if prediction == gold or not prediction or not gold:
        return prediction == gold != ""
    if max(len(prediction), len(gold)) > LIMIT:  # too long to be parsed, and not the same text
        return False
    if INTEGER.fullmatch(prediction) and INTEGER.fullmatch(gold):  # half of all pairs
        return int(prediction) == int(gold)
    decided = same_choice(prediction, gold)
    if decided is not None:
        return decided
    predictions, golds = (read(unlabelled(undressed(unlabelled(side)))) for side in (prediction, gold))
    log_bases = (None, 10) if "log" in prediction + gold else (None,)  # books differ in what \log is
    try:
        return any(equal(p, g, Values(equal, base)) for base in log_bases for g in golds for p in predictions)
    except OutOfWork:
        return False


def unlabelled(text):
    """Without "the answer is", "Total:" and the like."""
    said = SAID.match(text)
    mark = MARK.match(text, re.match(r"(?:\\text\s*\{)?\s*(?:the\s+)?", text, re.I).end())
    if mark and mark.end() < len(text):
        return text[FILLER.match(text, mark.end()).end() :]
    if said and not any(word in NOT_SAID for word in said[1].lower().split()):
        return text[said.end() :]
    return text


def undressed(text):
    """Without what is only around an answer: white space, a pair of $ or of quotes, a box."""
    found = WRAPPED.fullmatch(text.strip()) if len(text) <= LIMIT else None
    return undressed(found[found.lastindex]) if found else text.strip()


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
    """The same words, without case and articles; items in any order. Of a formula, the same signs."""
    sides = []
    for node in (p, g):
        if node.kind != "text" or FORMAL.search(node.value):
            return False
        text = re.sub(r"\b(?:an?|the)\s+(?=\w)", "", node.value.lower())
        items = [re.findall(r"\w+|[^\w\s.]", item) for item in re.split(r"[,;，；]|\band\b", text)]
        sides.append(sorted(filter(None, items)))
    return sides[0] == sides[1]


# Labels: one may be missing on one side, but not differ.
def labels(p, g, values):
    r"""A unit and a last `k \in Z`. 30° is \pi/6, if only one side is written with \pi."""
    label = p.kind if p.kind in ("unit", "where") else g.kind
    if p.value in ("am", "pm") and g.kind == "number" or g.value in ("am", "pm") and p.kind == "number":
        return False  # 5 is no 5 am
    if p.kind == "unit" != g.kind and p.value.startswith("radix"):  # 101_2 for 101
        return False
    if p.kind == g.kind:
        return p.value == g.value and equal(p.items[0], g.items[0], values)
    if DEGREE in (p.value, g.value) and has(p, "symbol", r"\pi") != has(g, "symbol", r"\pi"):
        return equal(in_radians(p), in_radians(g), values)
    return equal(bare(p, label), bare(g, label), values)


def percents(p, g, values):
    """50% is 50% or 50 or 0.5, whichever side says %. But 0.5% is not meant by a gold 0.5."""
    bare_p, bare_g = bare(p, "percent"), bare(g, "percent")
    if p.kind == g.kind:
        return equal(bare_p, bare_g, values)
    if "unit" in (p.kind, g.kind):
        return False
    if g.kind == "percent":
        return equal(p, bare_g, values) or values.same(p, g)
    value = values.value(g)
    above_one = value not in (None, 1) and magnitude(size(value)) > 0
    return values.same(p, g) or above_one and equal(bare_p, g, values)


# The first rule one of whose kinds is that of either side decides; expressions, the rest, are compared by value.
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
    r"""Is this gold more than text to compare letter by letter? \frac{1}{2} and east are, \frac{1}{ is not."""
    if not isinstance(gold, str) or not gold.strip() or len(gold) > LIMIT:
        return False
    nodes = read(unlabelled(undressed(gold)))
    return bool(choice(gold)) or any(node.kind != "text" or is_words(node.value) for node in nodes)
