r"""The answer checker: is the answer in this response the gold answer? Training's reward and evaluation's grade are this.

    verify(response, gold)  =  is_equiv(extract_answer(response), gold)

In RLVR the verifier is the reward: a false positive is a lesson in cheating, a false negative a lesson lost. Three
steps, and three parts below: *extract* the answer from the response, *parse* it into a small tree, *compare* two trees.

    >>> verify(r"So $x = \frac{6}{4}$, which is \boxed{1\frac12}.", "3/2")
    True
    >>> verify(r"It is \boxed{17} or \boxed{18}.", "17")
    False

How it departs from other checkers. What a model prints is data: nothing is executed, no computer algebra runs. Nothing
can hang: the cost is bounded by the length of the text (at most LIMIT characters, DEPTH levels, BITS bits per number and
WORK steps per verdict), so no timeout is needed, and threads are safe. Anything a model can print is input, not an
error: the answer is False.

    accepted as equal                                        refused
    -------------------------------------------------------  -----------------------------------------------------------
    exact values: 6/4, 1\frac12, 1.5; \sqrt8, 2\sqrt2;       near misses, however near: 12345 and 12346; 0.333 for 1/3
      3e8, 3\times10^8; 2^{10}, 1024; i(2-i), 1+2i
    rounding, where the gold is a decimal, to the gold's     coarser rounding: 0.3 for 0.33; 0 for 1.6e-19; rounding of a
      last digit: 1/3 or 0.333 for 0.33                        gold such as 2.0, \frac13 or \sqrt2
    gold 50%: 50%, 50, 0.5; answer 50%: gold 50, 0.5, 1/2    0.5 for 50 and 50 for 0.5, where neither says %
    5 cm, \$5, 5 apples for 5, and the reverse; 70° for 70   5 cm for 5 m; 5 million for 5
    choices: (B), B., b, option B, "B: 7"; A、B、D for ABD    more letters or fewer; "A or B"; "A. 5 B. 6"
    lists and sets in any order; 1\pm2 for 3,-1              one of them, one more, or a list of guesses for one value
    tuples in order, vectors, matrices                       (1,2) for (2,1), for [1,2], for \{1,2\}
    (3,\infty), x>3, 3<x, \{x \mid x>3\}                     x>=3, x<3, y>3 for x>3
    5 for x=5, and the reverse; 2x+y=3 for y=3-2x            5=6; x=x; y=5 for x=5; x+1=6 for 6
    x(x+1) for x^2+x: equal at points both accept            other letters: 2k for 2n, x for 5
    101_3 or 101 for 101_3; 1:2, 2:4, 1/2; 3:00 pm, 3 pm     101_2 for 101_3 or for 101; 3 pm for 3 am
    words, whatever case, article or \text: "The East"       words with anything more or less: "not east"
    an unparsable gold: the same text                        anything for an empty gold; an empty answer
"""

import math
import re
import unicodedata
from decimal import Context, Decimal, DivisionByZero, InvalidOperation, Overflow, localcontext
from fractions import Fraction
from typing import NamedTuple

TAIL = 200_000  # characters of a response that are searched, from its end: longer than any model answers
LIMIT = 2000  # characters of an answer that is parsed; a longer one is compared as text
DEPTH = 90  # brackets within brackets
BITS = 16_000  # of an exact number, numerator and denominator together: 3^{2023} has 3,207
WORK = 100_000  # steps of one verdict, a step being about a microsecond


# Extract. Three places, the first that is there: the last \boxed{..} or \fbox{..} (boxes that are only joined by
# commas or `and` are a list, never "either one"); a closing phrase (the answer is X, 答案是X, Answer: X, #### X);
# the last number, if the caller asks for it. What stands in <think>..</think> is never seen.

BRACES = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*(\{?)|\\(?:[A-Za-z]+|.)|[{}]", re.S)
JOINT = re.compile(
    r"[\s,，、;；$]*(?:\\(?:text|quad|[,; ()\[\]])|[{}$])*\s*(?:and|or|和|或|及|&)?[\s}$]*(?:\\[(\[]\s*)?(?:[A-Za-z](?:_?\d)?\s*=\s*)?\$?"
)
PHRASE = re.compile(r"(?:answer[\s*_]*(?:is\b|[:：])|答案\s*[是为:：]|####)[\s*_:：]*", re.I)
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?", re.A)


def extract_answer(text, last_number=False):
    r"""The answer that a response gives, or None. last_number: where nothing marks an answer, the last number is it.

    >>> extract_answer(r"<think>\boxed{4}</think> Hence $\boxed{1}$ and $\boxed{2}$.")
    '1, 2'
    >>> extract_answer("5 + 7 is 12.") is None
    True
    """
    if not isinstance(text, str):
        return None
    text = _outside_think(text)[-TAIL:]
    boxes = _boxes(text)
    if boxes:
        return _last_list(text, boxes)
    marks = list(PHRASE.finditer(text))
    if marks:
        return _clause(text[marks[-1].end() :])
    numbers = NUMBER.findall(text) if last_number else []
    return numbers[-1].rstrip(",") if numbers else None


def _outside_think(text):
    """What is not inside <think>..</think>. Without </think> all the rest is hidden, without <think> all before."""
    shown, at, hidden = [], 0, False
    for tag in re.finditer(r"<(/?)think>", text, re.I):
        if not hidden:
            shown.append(text[at : tag.start()])
        if tag[1] and not hidden:
            shown.clear()
        at, hidden = tag.end(), not tag[1]
    return "".join(shown) + ("" if hidden else text[at:])


def _boxes(text):
    r"""[(start, end, content)] of the outermost balanced boxes, in one pass; an escaped \{ is no brace."""
    boxes, opened = [], []  # opened: (where the box starts or None, where its content starts) of each open brace
    for token in BRACES.finditer(text):
        t = token[0]
        if t.startswith(("\\boxed", "\\fbox")):
            if token[1]:
                opened.append((token.start(), token.end()))
            elif bare := re.compile(r"[^\s{}$\\.,;]+").match(text, token.end()):  # \boxed 5
                boxes.append((token.start(), bare.end(), bare[0]))
        elif t == "{":
            opened.append((None, 0))
        elif t == "}" and opened:
            start, inside = opened.pop()
            if start is not None:
                while boxes and boxes[-1][0] > start:  # boxes within this one
                    boxes.pop()
                boxes.append((start, token.end(), text[inside : token.start()].strip()))
    return boxes


def _last_list(text, boxes):
    parts = [boxes[-1][2]]
    if not parts[0]:
        return None
    for (_, end, content), (start, _, _) in zip(boxes[-2::-1], boxes[:0:-1]):
        gap = text[end:start]
        if len(gap) > 40 or "\n" in gap or not JOINT.fullmatch(gap):
            break
        parts.append(content)
    parts = list(dict.fromkeys(reversed(parts)))  # one answer boxed twice is one answer
    return ", ".join(parts)


def _clause(text):
    """The first clause of what follows "the answer is"."""
    display = re.match(r"\\\[(.*?)\\\]|\$\$(.*?)\$\$", text, re.S)
    line = (display[1] or display[2] or "") if display else text.split("\n", 1)[0]
    line = re.split(r"[.。](?:\s|$)|。|,?\s(?:which|because|since|so)\s", line, maxsplit=1)[0]
    return line.strip(" *_`") or None


# Parse. Unicode becomes LaTeX, LaTeX becomes tokens, and a descent over the tokens, level by level
#
#     answer , statement (= <) union (\cup) ratio (:) sum (+ -) product (* / and side by side) power (^ _ ! %) primary
#
# makes Nodes. Sums and products are flat, so the tree is only as deep as the brackets, which are capped. Where text can
# be read in two ways ("1,234": a number, or two), both readings are kept. Words that are no mathematics are kind `text`.


class Unreadable(Exception):
    """Not an answer that this grammar knows."""


class Node(NamedTuple):
    kind: str
    items: tuple = ()
    value: object = None


class Token(NamedTuple):
    kind: str  # number, symbol, function, unit, word, multiple, or operator
    text: str
    spaced: bool = False  # is there space before it?


GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho varsigma sigma tau "
    "upsilon phi chi psi omega"
).split()
SYMBOLS = {*GREEK, *(name.capitalize() for name in GREEK)} | set("ell varphi varepsilon vartheta mho hbar".split())
SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ₀₁₂₃₄₅₆₇₈₉", "0123456789+-n0123456789")
UNICODE = {
    **{chr(0x3B1 + i): rf"\{name} " for i, name in enumerate(GREEK)},
    **{chr(0x391 + i): rf"\{name.capitalize()} " for i, name in enumerate(GREEK) if name != "varsigma"},
    **{c: rf"\frac{{{n}}}{{{d}}}" for c, n, d in zip("½⅓⅔¼¾⅕⅖⅗⅘⅙⅛⅜⅝⅞", "11213123411357", "23344555568888")},
    **{chr(0x2460 + i): f"({i + 1})" for i in range(20)},
    **dict.fromkeys("−–—‐‑﹣", "-"),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\u2061\ufeff", ""),
    **dict.fromkeys("·⋅∙•∗", r"\cdot "),
    **dict.fromkeys("≤⩽≦", r"\le "),
    **dict.fromkeys("≥⩾≧", r"\ge "),
    **dict.fromkeys("、，", ", "),
    **dict.fromkeys("∣｜", "|"),
    **dict.fromkeys("′’", "'"),
    **{"×": r"\times ", "÷": r"\div ", "∞": r"\infty ", "≠": r"\ne ", "≈": r"\approx ", "±": r"\pm ", "∓": r"\mp "},
    **{"∪": r"\cup ", "∈": r"\in ", "∅": r"\emptyset ", "°": r"^\circ ", "√": r"\sqrt ", "∛": r"\sqrt[3] "},
    **{
        "⟨": r"\langle ",
        "⟩": r"\rangle ",
        "ℝ": r"\R ",
        "¢": " cents",
        "。": ".",
        "∘": r"\circ ",
        "￥": "",
        "¥": "",
        "€": "",
        "£": "",
    },
}
UNICODE = str.maketrans(UNICODE)

# LaTeX that says nothing about the value, and other spellings of one thing.
SKIPPED = set(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr middle displaystyle textstyle limits boxed fbox mathbf boldsymbol "
    "bf mathit mathcal mathsf it quad qquad hline triangle angle hat bar tilde underline , ; ! : $ ( ) [ ] # @ &".split()
) | {" "}
TEXTS = set("text mathrm mbox textrm textbf textit textnormal rm hbox operatorname mathop".split())
SPELLINGS = {
    **dict.fromkeys("dfrac tfrac cfrac".split(), r"\frac"),
    **dict.fromkeys("dbinom tbinom".split(), r"\binom"),
    **dict.fromkeys("leq leqslant leqq".split(), r"\le"),
    **dict.fromkeys("geq geqslant geqq".split(), r"\ge"),
    **dict.fromkeys("cdot times ast bullet".split(), "*"),
    **dict.fromkeys("lvert rvert vert".split(), "|"),
    **dict.fromkeys("land lor wedge vee".split(), ","),
    **dict.fromkeys("varnothing O".split(), r"\emptyset"),
    **dict.fromkeys("overrightarrow vec".split(), r"\vec"),
    **dict.fromkeys("backslash setminus smallsetminus".split(), r"\setminus"),
    **dict.fromkeys("approx simeq doteq".split(), r"\approx"),
    **{
        "neq": r"\ne",
        "lt": "<",
        "gt": ">",
        "colon": ":",
        "div": "/",
        "%": "%",
        "imath": "i",
        "degree": r"\degree",
        "|": "|",
    },
    **{"lbrace": r"\{", "rbrace": r"\}", "lbrack": "[", "rbrack": "]", "bigcup": r"\cup", "lg": "lg", "_": "_"},
}
FUNCTIONS = set("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp max min".split())
RELATIONS = {"=", "<", ">", r"\le", r"\ge", r"\ne", r"\in", r"\approx"}
OPENING = {"(": ")]", "[": "])", "{": "}", r"\{": r"\}", r"\langle": r"\rangle", r"\lfloor": r"\rfloor",
           r"\lceil": r"\rceil", "|": "|"}  # fmt: skip
MULTIPLES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12,
             "百万": 10**6, "千": 1000, "万": 10**4, "亿": 10**8}  # fmt: skip
NUMERALS = "zero one two three four five six seven eight nine ten eleven twelve".split()
WORDS = {"pi": r"\pi", "infinity": r"\infty", "inf": r"\infty", "sqrt": r"\sqrt", "and": ",", "or": ",", "percent": "%",
         "和": ",", "或": ",", "及": ",", "或者": ",", "degrees": r"\degree", "degree": r"\degree", "deg": r"\degree",
         "度": r"\degree", "theta": r"\theta", "alpha": r"\alpha", "beta": r"\beta", "cup": r"\cup", "to": ":"}  # fmt: skip
# Units: one name for each spelling. Any longer word after a number counts as a unit, too, but for those of NO_UNIT.
UNITS = {spelling: spellings.split()[0] for spellings in (
    "mm millimeter millimetre 毫米", "cm centimeter centimetre 厘米", "m meter metre 米", "km kilometer kilometre 千米 公里",
    "in inch inches 英寸", "ft foot feet", "yd yard", "mi mile", "g gram gm 克", "kg kilogram 千克 公斤", "mg", "lb lbs pound",
    "oz ounce", "s sec second 秒", "min minute mins 分钟 分", "h hr hrs hour 小时 时", "day 天 日", "week wk", "month 个月",
    "year yr yrs 年", "ml mL milliliter", "L l liter litre 升", "N newton", "J joule", "kJ", "W watt", "V volt", "A amp",
    "K kelvin", "C", "F", "Hz hertz", "Pa", "kPa", "mol mole", "eV", "rad radian", "dollar usd 美元", "cent", "yuan 元 rmb 块",
    "mph", "kph", "sq square", "cubic cu", "people 人", "个", "men man", "per", "each",
    "th st nd rd", "pt pts point", "dm", "nm", "cal", "kcal", "T", "acre", "hectare", "erg", "dyne", "AU", "pc", "Jy",
    "boy", "girl", "car", "bus", "way", "egg", "toy", "pen", "box", "bag", "unit", "mil",
) for spelling in spellings.split()}  # fmt: skip
NO_UNIT = set(
    "not nor than then if unless except but after before over under squared cubed halves third fourth fifth sixth eighth "
    "tenth hundredth thousandth more less least most about above below between from with without maybe probably either neither "
    "plus minus half quarter double twice whatever where when such that wrong correct right true false 不 或 至 到 约 以 大 小 "
    "else otherwise approximately around exactly also possibly perhaps undefined nothing anything".split()
)

THOUSANDS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?!,?[0-9])")
SPLIT_DIGITS = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:(?:\{,\}|,?\s?\\[,!;: ]\s?|~|\s)[0-9]{3})+(?![0-9])")
SINGLE_UNIT = re.compile(
    r"((?:[0-9})]|\\pi)(?:\s|\\[;,: ])+)([mgshLlNJWVAKCFT])(?![A-Za-z0-9_('])(?=\s*(?:$|\^|/|\$|\\cdot))"
)
TOKEN = re.compile(
    r"\\(?:[A-Za-z]+|.)|(?:[0-9]+(?:\.[0-9]+|\.(?=\\overline))?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3}(?![0-9A-Za-z]))?"
    r"|[A-Za-z]+|[\u4e00-\u9fff]+|\s+|.",
    re.S,
)
STYLE = re.compile(
    r"\\(?:text|mathrm|mbox|textrm|textbf|textit|mathbf|boldsymbol|rm|bf|boxed|displaystyle|left|right|,|;|!|:| |quad)(?![a-z])"
)
HEAD = re.compile(
    r"(?:\\?[A-Za-z]+(?:_(?:\{\w+\}|\w))?'*(?:\^\{-1\})?)?\([a-z](?:,[a-z])*\)|\\frac\{d[a-z]\}\{d[a-z]\}"
)
TIME = re.compile(r"(\d{1,2})(?::(\d\d))?\s*([ap])\.?\s?m\.?|(\d{1,2}):(\d\d)", re.I | re.A)
LABELS = re.compile(r"(?:\((\d{1,2})\)[,;\s]*){2,}", re.A)  # ①③④, once the circles are gone
NOTHING = {"no solution", "no solutions", "no real solution", "no real solutions", "empty set", "无解", "空集"}
ORDINAL = re.compile(r"\^\s*\{\s*(?:\\(?:text|mathrm)\s*\{\s*)?(?:st|nd|rd|th)\s*\}(?:\s*\})?")
LEAD = re.compile(r"(?:the\s+)?(?:final\s+)?answer(?:\s+is|\s*[:=])\s*[:=]?|(?:答案|answer)(?:是|为|：|:)", re.I)


def tokenise(text):
    r"""LaTeX or plain text as Tokens. Letters side by side are symbols, unless they are a name, a unit, or a long word;
    in \text{..} they are a word at once."""
    tokens, styles, starting, space = [], [], False, False
    for match in TOKEN.finditer(text):
        t, kind = match[0], "operator"
        if t[0] == "\\" and len(t) > 1:
            name = t[1:]
            if name in TEXTS:
                starting = True
                continue
            if name in SKIPPED:
                space = True
                continue
            t = SPELLINGS.get(name, t)
            kind = "function" if name in FUNCTIONS else "symbol" if name in SYMBOLS or t == "i" else kind
            t = name if kind == "function" else t
        elif t.isspace() or t in "$~":
            space = True
            continue
        elif t == "\\" or t == "." and tokens and tokens[-1].kind in ("unit", "word"):  # sq. units
            continue
        elif t == "{":
            styles.append(starting)
            if starting:
                starting = False
                continue
        elif t == "}":
            if styles and styles.pop():
                space = True
                continue
        elif t[0].isdigit() or t[0] == "." and len(t) > 1:
            kind = "number"
        elif t.isalpha():
            tokens += _word(t, any(styles[-2:]), space)
            space = False
            continue
        tokens.append(Token(kind, t, space))
        space = starting = False
    if tokens and tokens[-1].text == "\\\\":
        tokens.pop()
    if tokens and tokens[-1].text == ".":
        tokens.pop()
    return tokens


def _word(t, styled, space):
    low = t.lower() if len(t) > 2 else t
    singular = low[:-1] if len(low) > 3 and low.endswith("s") and low not in NO_UNIT else low
    if low in NO_UNIT:
        return [Token("word", low, space)]
    if t in FUNCTIONS:
        return [Token("function", t, space)]
    if low in WORDS:
        return [Token("symbol" if WORDS[low][1:] in SYMBOLS else "operator", WORDS[low], space)]
    if singular in MULTIPLES:
        return [Token("multiple", singular, space)]
    if low in NUMERALS:
        return [Token("number", str(NUMERALS.index(low)), space)]
    if (styled or len(t) > 1 or not t.isascii()) and (low in UNITS or singular in UNITS):
        return [Token("unit", UNITS.get(low) or UNITS[singular], space)]
    if len(t) == 1 and t.isascii():
        return [Token("symbol", t, space)]
    for name in ("ln", "sin", "cos", "tan", "log"):
        if t.startswith(name) and len(t) == len(name) + 1 and not styled:  # lnx
            return [Token("function", name, space), Token("symbol", t[-1])]
    if t[:2] in ("平方", "立方") and t[2:] in UNITS:
        return [Token("unit", UNITS[t[2:]] + ("^2" if t[0] == "平" else "^3"), space)]
    if len(t) > 3 or styled or not t.isascii():
        return [Token("word", singular, space)]
    return [Token("symbol", c, space and i == 0) for i, c in enumerate(t)]


class Parser:
    """One reading of a list of tokens. Raises Unreadable."""

    def __init__(self, tokens):
        self.tokens, self.at, self.depth = tokens, 0, 0
        self.bars = 0  # open | signs
        self.in_angle = False  # inside the argument of sin, cos, ..: there, degrees count

    def text(self, ahead=0):
        return self.tokens[self.at + ahead].text if self.at + ahead < len(self.tokens) else ""

    def kind(self, ahead=0):
        return self.tokens[self.at + ahead].kind if self.at + ahead < len(self.tokens) else "end"

    def accept(self, *texts):
        if self.text() in texts and self.at < len(self.tokens):
            self.at += 1
            return self.tokens[self.at - 1].text
        return ""

    def expect(self, *texts):
        found = self.accept(*texts)
        if not found:
            raise Unreadable
        return found

    def whole(self):
        self.accept("=", r"\approx")
        items = self.answer()
        if self.at < len(self.tokens):
            raise Unreadable
        return items[0] if len(items) == 1 else Node("list", items)

    def answer(self):
        """Statements with commas between; 1, 2, and 3 has two commas before the 3."""
        items = [self.statement()]
        while self.accept(",", ";"):
            while self.accept(",", ";"):
                pass
            if self.kind() == "end" or self.text() in (")", "]", "}", r"\}"):
                break
            items.append(self.statement())
        return tuple(items)

    def statement(self):
        parts, signs = [self.head() or self.union()], []
        while self.text() in RELATIONS:
            signs.append(self.accept(*RELATIONS))
            parts.append(self.union())
        return Node("relation", tuple(parts), tuple(signs)) if signs else parts[0]

    def head(self):
        """The left side of f(x) = .., (x, y) = .. or Area = .., as one symbol; None where there is none."""
        ahead = next((i for i in range(1, 16) if self.text(i) == "="), 0)
        tokens = self.tokens[self.at : self.at + ahead]
        name = "".join(t.text for t in tokens)
        if not tokens or not HEAD.fullmatch(name) and any(t.kind not in ("word", "unit") for t in tokens):
            return None
        self.at += ahead
        return Node("symbol", (), name)

    def union(self):
        items = [self.ratio()]
        while self.text() in (r"\cup", "U", r"\setminus") and items[-1].kind in ("tuple", "set", "reals"):
            if self.accept(r"\setminus"):
                items.append(Node("without", (self.ratio(),)))
            else:
                self.at += 1
                items.append(self.ratio())
        return Node("union", tuple(items)) if len(items) > 1 else items[0]

    def ratio(self):
        items = [self.sum()]
        while self.accept(":"):
            items.append(self.sum())
        return Node("ratio", tuple(items)) if len(items) > 1 else items[0]

    def sum(self):
        items = [self.signed(self.product)]
        while self.text() in ("+", "-", r"\pm", r"\mp"):
            items.append(self.signed(self.product))
        return Node("add", tuple(items)) if len(items) > 1 else items[0]

    def signed(self, operand):
        minus, either = False, 0
        while sign := self.accept("+", "-", r"\pm", r"\mp"):
            minus ^= sign == "-"
            either = {r"\pm": 1, r"\mp": -1}.get(sign, either)
        node = operand()
        if either:
            return Node("either", (node,), -either if minus else either)
        return Node("neg", (node,)) if minus else node

    def product(self):
        factors, literal = [], None  # literal: the last factor, if it is a plain integer
        while True:
            if not factors:
                start, factor = self.at, self.power()
            elif self.accept("*"):
                start, factor = self.at, self.signed(self.power)
            elif self.accept("/"):
                start, factor = -1, Node("inverse", (self.signed(self.power),))
            elif literal and self.kind() == "number":
                if not (self.text(1) == "/" and self.kind(2) == "number"):  # 3 1/2
                    raise Unreadable
                above = self.number()
                self.expect("/")
                factors[-1] = Node("add", (literal, Node("mul", (above, Node("inverse", (self.number(),))))))
                literal = None
                continue
            elif self.kind() in ("unit", "word") or self.text() == r"\degree":
                return self.units(_mul(factors))
            elif self.accept("%"):
                if factors[0].kind == "percent":
                    raise Unreadable
                factors = [Node("percent", (_mul(factors),))]
                continue
            elif self.kind() == "multiple":
                self.at += 1
                start, factor = (
                    -1,
                    Node("number", (), (Fraction(MULTIPLES[self.tokens[self.at - 1].text]), Fraction(0))),
                )
            elif self.side_by_side():
                start, factor = self.at, self.power()
                if literal and self.tokens[start].text == r"\frac" and _is_proper(factor):  # 3\frac12
                    factors[-1] = Node("add", (literal, factor))
                    literal = None
                    continue
            else:
                break
            literal = factor if self.at == start + 1 and factor.kind == "number" and factor.value[1] == 0 else None
            factors.append(factor)
        return _mul(factors)

    def side_by_side(self):
        """Does another factor follow without a sign between? A | opens only where none is open."""
        t = self.text()
        if t == "|":
            return not self.bars
        return self.kind() in ("number", "symbol", "function") and t != "U" or t in (
            "(", "[", "{", r"\frac", r"\sqrt", r"\binom", r"\vec", r"\lfloor", r"\lceil")  # fmt: skip

    def units(self, node):
        r"""cm, m/s^2, degrees, apples per day: everything to the end of the phrase, as one name."""
        names = []
        while True:
            if self.kind() in ("unit", "word") or self.text() == r"\degree":
                if self.text() in NO_UNIT or self.text()[0] in NO_UNIT:
                    raise Unreadable
                power = {"sq": "^2", "cubic": "^3"}.get(self.text(), "")
                self.at += 1 if power and self.kind(1) == "unit" else 0
                names.append({"per": "/", "each": "/"}.get(self.text(), self.text()) + power)
                self.at += 1
            elif self.text() == "/" and (self.kind(1) in ("unit", "word") or self.text(1) in UNITS):
                names.append(self.accept("/") + UNITS.get(self.text(), self.text()))
                self.at += 1
            elif self.text() == "*" and self.kind(1) == "unit":
                self.at += 1
            elif names and self.accept("^"):
                names.append("^" + self.exponent())
            else:
                break
        return Node("unit", (node,), "".join(names))

    def exponent(self):
        braced, minus = self.accept("{"), self.accept("-")
        if self.kind() != "number":
            raise Unreadable
        self.at += 1
        digits = minus + self.tokens[self.at - 1].text
        if braced:
            self.expect("}")
        return digits

    def power(self):
        self.deeper()
        node = self.primary()
        wraps = 0
        while True:
            if self.text() == "^" and (
                self.text(1) == r"\circ" or [self.text(i) for i in (1, 2, 3)] == ["{", r"\circ", "}"]
            ):
                self.at += 2 if self.text(1) == r"\circ" else 4
                node = self.degrees(node)
            elif self.in_angle and self.accept(r"\degree"):
                node = self.degrees(node)
            elif self.accept("^"):
                node = Node("power", (node, self.signed(self.power)))
            elif self.accept("!"):
                node = Node("factorial", (node,))
            else:
                break
            wraps += 1
            if wraps > 4:
                raise Unreadable
        self.depth -= 1
        return node

    def degrees(self, node):
        if not self.in_angle:
            return Node("unit", (node,), r"\degree")
        return _radians(node)

    def deeper(self):
        self.depth += 1
        if self.depth > DEPTH:
            raise Unreadable

    def number(self):
        """A number with its last digit's worth: 2.50 is (5/2, 1/100); an integer, or 2.0, is exact: (2, 0)."""
        digits, _, exponent = self.text().lower().partition("e")
        if self.kind() != "number" or len(digits) > 1000:
            raise Unreadable
        self.at += 1
        whole, _, decimals = digits.partition(".")
        scale = Fraction(10) ** int(exponent or 0)
        worth = scale / 10 ** len(decimals) if decimals.strip("0") else Fraction(0)
        return Node("number", (), (Fraction(int(whole + decimals), 10 ** len(decimals)) * scale, worth))

    def primary(self):
        self.deeper()
        node = self.undivided()
        self.depth -= 1
        return node

    def undivided(self):
        t, kind = self.text(), self.kind()
        if kind == "number":
            if self.text(1) == "_":
                return self.based()
            if "." in t and self.text(1) == r"\overline":
                return self.repeating()
            return self.number()
        if kind == "symbol" or kind == "unit" and len(t) == 1:  # \text{K}
            return self.symbol()
        if kind == "function":
            return self.call()
        if t in OPENING:
            return self.group()
        self.at += 1
        if t == r"\frac":
            return Node("mul", (self.argument(), Node("inverse", (self.argument(),))))
        if t == r"\binom":
            return Node("binomial", (self.argument(), self.argument()))
        if t == r"\sqrt":
            return self.root()
        if t == r"\vec":
            return Node("symbol", (), "vec " + self.raw())
        if t in (r"\infty", r"\emptyset", r"\R"):
            return Node({r"\infty": "infinity", r"\emptyset": "set", r"\R": "reals"}[t])
        if t == r"\begin":
            return self.environment()
        if t == r"\overline":
            return self.argument()
        raise Unreadable

    def argument(self):
        r"""What \frac takes: {..}, or one digit, or one symbol. \frac12 is one half."""
        if self.kind() == "number" and len(self.text()) > 1 and self.text().isdigit():
            token = self.tokens[self.at]
            self.tokens[self.at] = token._replace(text=token.text[1:])
            return Node("number", (), (Fraction(int(token.text[0])), Fraction(0)))
        return self.signed(self.primary)

    def raw(self):
        """The text of a group or of one token, unparsed: for subscripts and arrows."""
        if not self.accept("{"):
            self.at += 1
            return self.tokens[self.at - 1].text if self.at <= len(self.tokens) else ""
        start, depth = self.at, 1
        while depth:
            if self.kind() == "end":
                raise Unreadable
            depth += {"{": 1, "}": -1}.get(self.text(), 0)
            self.at += 1
        return "".join(t.text for t in self.tokens[start : self.at - 1])

    def symbol(self):
        name, start = self.text(), self.at
        self.at += 1
        while self.text() in ("_", "'"):
            name += self.accept("'") or (self.accept("_") and "_" + self.raw())
        if name.startswith("C_") and self.accept("^"):  # C_n^k, as Chinese textbooks write it
            self.at = start + 2
            above = self.argument()
            self.expect("^")
            return Node("binomial", (above, self.argument()))
        return Node("symbol", (), name)

    def based(self):
        digits = self.text()
        self.at += 2
        base = self.raw()
        base = str(NUMERALS.index(base)) if base in NUMERALS else base
        if not (digits.isdigit() and base.isdigit() and len(base) < 3 and 2 <= int(base) <= 36):
            raise Unreadable
        return Node("base", (), (digits.lstrip("0"), int(base)))

    def repeating(self):
        digits = self.text()
        self.at += 2
        period = self.raw()
        if not (period.isdigit() and len(digits) + len(period) < 100 and "e" not in digits):
            raise Unreadable
        places = len(digits.partition(".")[2])
        tail = Fraction(int(period), 10**places * (10 ** len(period) - 1))
        return Node("number", (), (Fraction(digits) + tail, Fraction(0)))

    def root(self):
        degree = Node("number", (), (Fraction(2), Fraction(0)))
        if self.accept("["):
            degree = self.sum()
            self.expect("]")
        inside = self.number() if self.kind() == "number" else self.signed(self.primary)
        return Node("power", (inside, Node("inverse", (degree,))))

    def call(self):
        name, base, exponent = self.text(), None, None
        self.at += 1
        for _ in range(2):
            if self.accept("_"):
                base = self.argument() if self.text() != "{" else self.group()
            elif self.accept("^"):
                exponent = self.signed(self.primary)
        outer, self.in_angle = self.in_angle, name in ("sin", "cos", "tan", "cot", "sec", "csc")
        if self.text() in OPENING:
            inside = self.group()
        else:
            self.deeper()
            factors = [self.signed(self.power)]
            while self.side_by_side() and self.kind() != "function" and self.text() not in ("(", "[", "|"):
                factors.append(self.power())
            self.depth -= 1
            inside = _mul(factors)
        self.in_angle = outer
        if exponent and exponent == Node("neg", (_integer("1"),)):
            name, exponent = "arc" + name, None  # \sin^{-1}
        if name == "lg":
            name, base = "log", _integer("10")
        node = Node("call", (inside, base) if base else (inside,), name)
        return Node("power", (node, exponent)) if exponent else node

    def group(self):
        opening = self.accept(*OPENING)
        self.deeper()
        self.bars += 1 if opening == "|" else 0
        outer = self.bars
        if opening != "|":
            self.bars = 0
        builder = self.builder() if opening == r"\{" or opening == "{" and self.at == 1 else None
        empty = self.text() in OPENING[opening]
        items = () if builder or empty else self.answer()
        closing = self.expect(*([")", "]"] if opening in "([" else [OPENING[opening]]))
        self.bars = outer - 1 if opening == "|" else outer
        self.depth -= 1
        if builder:
            return builder
        if opening == r"\{":
            return Node("set", items)
        if not items:
            raise Unreadable
        if opening in (r"\lfloor", r"\lceil", "|"):
            return Node("call", items, {"|": "abs"}.get(opening, opening[2:]))
        if len(items) == 1:
            if closing not in OPENING[opening][:1] and opening in "([":
                raise Unreadable
            return items[0]
        if opening == "{":
            return Node("set", items)
        return Node("tuple", items, "()" if opening == r"\langle" else opening + closing)

    def builder(self):
        r"""What stands in \{x \mid x > 3\}, where that is it."""
        if self.kind() != "symbol":
            return None
        start, name = self.at, self.symbol()
        if self.text() == r"\in":
            self.at += 1
            self.raw()
        if not self.accept("|", r"\mid", ":"):
            self.at = start
            return None
        conditions = self.answer()
        return Node("builder", conditions, name.value)

    def environment(self):
        self.expect("{")
        name = self.text()
        self.at += 1
        self.expect("}")
        if name == "array":
            self.raw()
        rows, row = [], []
        while True:
            row.append(self.statement())
            self.accept(",")
            sign = self.expect("&", "\\\\", r"\end")
            if sign != "&":
                rows.append(Node("row", tuple(row)))
                row = []
            if sign == "\\\\" and self.accept(r"\end"):
                sign = r"\end"
            if sign == r"\end":
                break
        self.raw()
        if name.strip("pbB") not in ("matrix", "array", "smallmatrix", "case", "cases"):
            raise Unreadable
        if name.startswith("case") and all(len(row.items) == 1 for row in rows):
            return Node("list", tuple(row.items[0] for row in rows))
        return Node("cases" if name.startswith("case") else "matrix", tuple(rows))


def _integer(digits):
    return Node("number", (), (Fraction(int(digits)), Fraction(0)))


def _mul(factors):
    return Node("mul", tuple(factors)) if len(factors) > 1 else factors[0]


def _radians(node):
    return Node("mul", (node, Node("symbol", (), r"\pi"), Node("number", (), (Fraction(1, 180), Fraction(0)))))


def _is_proper(node):
    """Is it \\frac{a}{b} with integers 0 < a < b?"""
    a, b = node.items[0], node.items[1].items[0] if node.kind == "mul" and len(node.items) == 2 else None
    return bool(b) and a.kind == b.kind == "number" and 0 < a.value[0] < b.value[0]


def readings(text):
    """The ways to read an answer, as Nodes: never empty. Kind `text` is for what is not understood, or is words."""
    text = LEAD.sub("", text.strip(), count=1) if LEAD.match(text.strip()) else text
    text = text.strip(" \n*") if text.strip().startswith("*") else text.strip()
    text = unicodedata.normalize("NFKC", _unicode(text))[: 4 * LIMIT]
    if r"\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z])", r"\\", text)  # \\frac, escaped once too often
    text = re.sub(r"\\textcircled\s*\{(\d+)\}", r"(\1)", text)
    text = ORDINAL.sub(" th", text)
    text = re.sub(r"(?<=[0-9])\s*x\s*(?=10\s*\^)", r"\\times ", text).replace("**", "^")
    text = text.replace(">=", r"\ge ").replace("<=", r"\le ").replace("==", "=")
    text = re.sub(r"\\mathbb\s*\{?\s*([RZNQC])\s*\}?", lambda m: r"\R " if m[1] == "R" else " " + m[1], text)
    plain = _plain(text)
    if special := _special(plain):
        return [special]
    words = [Node("text", (), plain)] if _is_words(plain) else []
    if words and (
        len(plain) > 3
        or not plain.isascii()
        or not plain.isalpha()
        or plain.lower() in ("no", "on", "yes")
        or set(plain) <= set("IVX")
    ):
        return words
    text = SPLIT_DIGITS.sub(lambda m: re.sub(r"[^0-9]", "", m[0]), text)
    ways = [text]
    if THOUSANDS.search(text):
        ways = list(dict.fromkeys([THOUSANDS.sub(_one_number, text), text.replace(",", ", ")]))
    if SINGLE_UNIT.search(text):
        ways.append(SINGLE_UNIT.sub(r"\1\\text{\2}", ways[0]))
    if re.search(r"[0-9]e[+-][0-9](?![0-9])", text):
        ways.append(text.replace("e", " e "))  # 2e-1 is also two e minus one
    found = words  # ab is a word or a product
    for way in ways:
        try:
            found.append(Parser(tokenise(way)).whole())
        except Unreadable:
            continue
    return found or [Node("text", (), plain)]


def _one_number(match):
    """1,234 as 1234, but for what stands in brackets, where commas separate."""
    before = match.string[: match.start()]
    opened = sum(before.count(c) for c in ("(", "[", r"\{")) - sum(before.count(c) for c in (")", "]", r"\}"))
    return match[0] if opened > 0 else match[0].replace(",", "")


def _unicode(text):
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda m: "^{" + m[0].translate(SUPERSCRIPTS) + "}", text)
    text = re.sub("[₀-₉]+", lambda m: "_{" + m[0].translate(SUPERSCRIPTS) + "}", text)
    return text.translate(UNICODE)


def _plain(text):
    """Words without LaTeX around them: one space between words, no full stop."""
    text = STYLE.sub(" ", text)
    return " ".join(re.sub(r"[{}$~]|\\[()\[\],;!]", "", text).split()).strip(" .*\"'`")


def _is_words(plain):
    r"""Two letters or more, no digit, no sign of mathematics, and no name that means something: \pi, ln, infinity."""
    if not any(c.isalpha() for c in plain) or len(plain) < 2:
        return False
    if any(not (c.isalpha() or c in " ',.-;:&/") for c in plain):
        return False
    runs = re.findall(r"[^\W\d_]+", plain)
    if any(r in FUNCTIONS or WORDS.get(r.lower(), ",") != "," for r in runs) or max(map(len, runs)) < 2:
        return False
    return not re.search("[-/]", plain) or max(map(len, runs)) > 3


def _special(plain):
    """What is not mathematics, and yet more than words: times, labels, nothing, everything. None for the rest."""
    if time := TIME.fullmatch(plain):
        hour, minute, half = (time[1], time[2], time[3].lower()) if time[3] else (time[4], time[5], "")
        if half:
            return Node("time", (), (int(hour), int(minute or 0), half))
    if LABELS.fullmatch(plain):
        return Node("list", tuple(_integer(n) for n in re.findall(r"\d+", plain)))
    if plain.lower() in NUMERALS:
        return _integer(str(NUMERALS.index(plain.lower())))
    if plain.lower() in NOTHING:
        return Node("set")
    return Node("reals") if plain.lower() in ("all real numbers", "all reals", "全体实数") else None


# Compare. Kind by kind, and in each kind item by item, down to values. A value is a Fraction while it is rational, and
# is then compared exactly. Otherwise it is a pair of 80-digit decimals (real, imaginary), compared to 50 digits: numbers
# that people write with a few roots, \pi and e either are equal or differ long before the 50th digit. With letters, both
# sides are evaluated at points where the letters are numbers, and must agree wherever both are defined, at AGREE points.

DIGITS = Context(prec=80, Emax=10**6, Emin=-(10**6), traps=[InvalidOperation, DivisionByZero, Overflow])
CLOSE = Decimal("1e-50")
POINTS, AGREE = 14, 4
STEPS, STEP_POINTS = ("floor", "ceil", "abs"), 80  # these are equal at many points without being equal
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")
CONSTANTS = {r"\pi", "e", "i"}


class NoValue(Exception):
    """Undefined, or beyond the bounds."""


class OutOfWork(Exception):
    """The verdict took more than WORK steps."""


def _pair(a):
    return a if isinstance(a, tuple) else (Decimal(a.numerator) / Decimal(a.denominator), Decimal(0))


def _bits(a):
    return a.numerator.bit_length() + a.denominator.bit_length()


def _size(a):
    """|a| of a pair."""
    return (a[0] * a[0] + a[1] * a[1]).sqrt() if a[1] else abs(a[0])


def _close(a, b):
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    (ar, ai), (br, bi) = _pair(a), _pair(b)
    sizes = max(_size((ar, ai)), _size((br, bi)))
    return _size((ar - br, ai - bi)) <= CLOSE * sizes or sizes <= CLOSE * CLOSE.sqrt()


def _sin_cos(x):
    if abs(x) > 10**20:
        raise NoValue
    x = x % (2 * PI)
    sums, term = [Decimal(0), Decimal(0)], Decimal(1)
    for n in range(1, 200):
        sums[(n - 1) % 2] += term if n % 4 in (1, 2) else -term
        term = term * x / n
        if term < Decimal("1e-85"):
            break
    return sums[1], sums[0]


def _arctan(x):
    if x < 0:
        return -_arctan(-x)
    if x > 1:
        return PI / 2 - _arctan(1 / x)
    for _ in range(3):
        x = x / (1 + (1 + x * x).sqrt())
    total, power = Decimal(0), x
    for n in range(1, 100, 2):
        total += power / n if n % 4 == 1 else -power / n
        power = power * x * x
    return 8 * total


def _log(a):
    """Natural logarithm of a pair; the imaginary part in (-pi, pi]."""
    size = _size(a)
    if not size:
        raise NoValue
    if a[0] == 0:
        angle = PI / 2 if a[1] > 0 else -PI / 2
    else:
        angle = _arctan(a[1] / a[0]) + (0 if a[0] > 0 else PI if a[1] >= 0 else -PI)
    return size.ln(), angle


def _exp(a):
    sine, cosine = _sin_cos(a[1]) if a[1] else (Decimal(0), Decimal(1))
    size = a[0].exp()
    return size * cosine, size * sine


def _times(a, b):
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _root(n, k):
    """The integer whose k-th power is n, or None."""
    root = int((Decimal(n) ** (Decimal(1) / k)).to_integral_value()) if n.bit_length() < 250 else math.isqrt(n)
    return root if (k == 2 or n.bit_length() < 250) and root**k == n else None


class Grader:
    """One verdict: its values, computed once each, and its budget of work."""

    def __init__(self, log_base=None):
        self.left, self.values, self.names = WORK, {}, {}
        self.log_base = log_base  # of \log without a base: e (None) or 10

    def spend(self, steps):
        self.left -= steps
        if self.left < 0:
            raise OutOfWork

    # Values.

    def value(self, node, point=None):
        """Of a Node at a point (None: no letters): Fraction, pair, or +-inf as float. Raises NoValue."""
        key = id(node), point
        if key not in self.values:
            self.spend(1)
            try:
                found = self.compute(node, point)
                if isinstance(found, Fraction) and _bits(found) > BITS:
                    found = NoValue
            except (NoValue, ArithmeticError):
                found = NoValue
            self.values[key] = found, node  # the node is kept, so that its id stays its own
        found = self.values[key][0]
        if found is NoValue:
            raise NoValue
        return found

    def finite(self, node, point):
        found = self.value(node, point)
        if isinstance(found, float):
            raise NoValue
        return found

    def real(self, node, point=None):
        found = self.finite(node, point)
        if isinstance(found, Fraction):
            return found
        if abs(found[1]) > CLOSE * max(1, abs(found[0])):
            raise NoValue
        return found[0]

    def compute(self, node, point):
        kind, items = node.kind, node.items
        if kind == "number":
            return node.value[0]
        if kind == "symbol":
            return self.letter(node.value, point)
        if kind == "infinity":
            return math.inf
        if kind == "neg":
            found = self.value(items[0], point)
            return (-found[0], -found[1]) if isinstance(found, tuple) else -found
        if kind == "unit":
            return self.value(items[0], point)
        if kind not in ("add", "mul", "inverse", "power", "factorial", "percent", "binomial", "call"):
            raise NoValue
        values = [self.finite(item, point) for item in items]
        if kind == "add":
            return self.fold(values, lambda a, b: a + b, lambda a, b: (a[0] + b[0], a[1] + b[1]))
        if kind == "mul":
            return self.product(values)
        if kind == "percent":
            return self.product([values[0], Fraction(1, 100)])
        if kind == "inverse":
            return self.inverse(values[0])
        if kind == "power":
            return self.power(values[0], values[1], point)
        if kind == "call":
            return self.call(node.value, values, point)
        if not all(isinstance(v, Fraction) and v.denominator == 1 for v in values):
            raise NoValue
        n, k = values[0].numerator, values[-1].numerator
        if not 0 <= n <= 1500 or k < 0:
            raise NoValue
        self.spend(n)
        return Fraction(math.factorial(n) if kind == "factorial" else math.comb(n, k))

    def letter(self, name, point):
        r"""i, e, \pi, or the number that the letter stands for at this point: fractions of 1 to 10, some below 1, some
        negative, then integers, for what is only defined there. It depends on the name alone."""
        if name in CONSTANTS:
            return {"i": (Decimal(0), Decimal(1)), "e": (Decimal(1).exp(), Decimal(0)), r"\pi": (PI, Decimal(0))}[name]
        if point is None:
            raise NoValue
        self.spend(1)
        code = sum((i + 7) * ord(c) for i, c in enumerate(name)) * 7919 + point * 104729
        if point >= 7:
            return Fraction(1 + code % (9 if point < POINTS else 97))
        return Fraction(1000 + code % 8999, -997 if point == 6 else 10007 if point in (2, 5) else 997)

    def fold(self, values, exact, pairs):
        """Sum or product of Fractions among themselves, then of pairs."""
        total = None
        for v in values:
            if isinstance(v, Fraction) and (total is None or isinstance(total, Fraction)):
                self.spend(1 + (_bits(v) // 500) ** 2)
                total = v if total is None else exact(total, v)
                if _bits(total) > BITS:
                    raise NoValue
            else:
                self.spend(4)
                total = v if total is None else pairs(_pair(total), _pair(v))
        return total

    def product(self, values):
        return self.fold(values, lambda a, b: a * b, _times)

    def inverse(self, a):
        if isinstance(a, Fraction):
            return 1 / a
        size = a[0] * a[0] + a[1] * a[1]
        return a[0] / size, -a[1] / size

    def power(self, a, b, point):
        self.spend(20)
        if isinstance(a, Fraction) and isinstance(b, Fraction):
            found = self.exact_power(a, b, point)
            if found is not None:
                return found
            if a < 0 and b.denominator % 2:  # the real root: \sqrt[3]{-8} is -2
                size = self.power(-a, b, point)
                return self.product([Fraction((-1) ** (b.numerator % 2)), size])
            if a < 0 and b == Fraction(1, 2):
                return Decimal(0), _pair(self.power(-a, b, point))[0]
        if isinstance(b, Fraction) and b.denominator == 1 and abs(b) <= 64:  # a is a pair
            found = (Decimal(1), Decimal(0))
            for _ in range(abs(b.numerator)):
                found = _times(found, _pair(a))
            return found if b > 0 else self.inverse(found)
        a, b = _pair(a), _pair(b)
        if not a[0] and not a[1]:
            if b[0] <= 0:
                raise NoValue
            return Fraction(0)
        if a[0] > 0 and not a[1] and not b[1]:
            self.spend(60)
            return a[0] ** b[0], Decimal(0)
        self.spend(200)
        return _exp(_times(b, _log(a)))

    def exact_power(self, a, b, point):
        """The power of rationals if it is rational, or None. One that is too large has no value among constants."""
        if b.denominator > 1:
            roots = (
                [_root(n, b.denominator) for n in (a.numerator, a.denominator)] if a >= 0 and b.denominator < 60 else []
            )
            if None in roots or not roots:
                return None
            a, b = Fraction(*roots), Fraction(b.numerator)
        if a == 0 and b <= 0:
            raise NoValue
        if abs(b) * _bits(a) > BITS and a not in (0, 1, -1):
            if point is None:
                raise NoValue
            return None
        if a in (0, 1, -1):
            return a if b % 2 else a * a
        self.spend((int(abs(b)) * _bits(a) // 500) ** 2)
        return a ** int(b)

    def call(self, name, values, point):
        self.spend(100)
        a = values[0]
        if name == "abs":
            return abs(a) if isinstance(a, Fraction) else (_size(a), Decimal(0))
        if name in ("floor", "ceil"):
            if not isinstance(a, Fraction):
                near = a[0].to_integral_value()
                a = Fraction(near) if abs(a[0] - near) < CLOSE else Fraction(a[0])
            return Fraction(math.floor(a) if name == "floor" else math.ceil(a))
        x = _pair(a)
        if name == "exp":
            return _exp(x)
        if name in ("ln", "log"):
            top = _log(x)
            if len(values) == 1 and name == "log" and self.log_base:
                values = [a, self.log_base]
            if len(values) == 1:
                return top
            return _times(top, self.inverse(_log(_pair(values[1]))))
        if x[1]:
            raise NoValue
        return self.trigonometric(name, x[0]), Decimal(0)

    def trigonometric(self, name, x):
        if name in ("sin", "cos", "tan", "cot", "sec", "csc"):
            sine, cosine = _sin_cos(x)
            sine, cosine = (Decimal(0) if abs(v) < CLOSE else v for v in (sine, cosine))
            return {"sin": lambda: sine, "cos": lambda: cosine, "tan": lambda: sine / cosine,
                    "cot": lambda: cosine / sine, "sec": lambda: 1 / cosine, "csc": lambda: 1 / sine}[name]()  # fmt: skip
        if name in ("arcsin", "arccos"):
            if abs(x) > 1:
                raise NoValue
            sine = PI / 2 * x if abs(x) == 1 else _arctan(x / (1 - x * x).sqrt())
            return sine if name == "arcsin" else PI / 2 - sine
        if name == "arctan":
            return _arctan(x)
        if name in ("sinh", "cosh", "tanh"):
            up, down = x.exp(), (-x).exp()
            return {"sinh": (up - down) / 2, "cosh": (up + down) / 2, "tanh": (up - down) / (up + down)}[name]
        raise NoValue

    def letters(self, node):
        """Names of the letters in a Node, constants left out."""
        key = id(node)
        if key not in self.names:
            own = {node.value} - CONSTANTS if node.kind == "symbol" else set()
            self.names[key] = own.union(*(self.letters(item) for item in node.items)), node
        return self.names[key][0]

    # Comparisons.

    def equal(self, p, g):
        """Is the prediction p right, where the gold is g? Both are Nodes."""
        self.spend(2)
        if p == g:
            return True
        if "percent" in (p.kind, g.kind):
            return self.percent(p, g)
        if "unit" in (p.kind, g.kind):
            (p_name, p), (g_name, g) = ((n.value, n.items[0]) if n.kind == "unit" else ("", n) for n in (p, g))
            if {p_name, g_name} == {r"\degree", ""} and _has(p, "symbol", (r"\pi",)) != _has(g, "symbol", (r"\pi",)):
                p, g = (_radians(n) if name else n for n, name in ((p, p_name), (g, g_name)))  # 30° is \pi/6
            return (p_name == g_name or not p_name or not g_name) and self.equal(p, g)
        if "relation" in (p.kind, g.kind):
            return self.relations(p, g)
        if "text" in (p.kind, g.kind):
            return p.kind == g.kind and _words(p.value) == _words(g.value)
        if "base" in (p.kind, g.kind):
            if g.kind == "base":  # the digits alone will do
                return p.kind == "number" and str(p.value[0]) == g.value[0]
            return p.value[1] == 10 and self.equal(_integer(p.value[0] or "0"), g)
        if "time" in (p.kind, g.kind):
            return self.times(p, g)
        if "ratio" in (p.kind, g.kind):
            return self.ratios(p, g)
        ps, gs = self.several(p), self.several(g)
        if ps or gs:
            return self.match(p, g, ps or (p,), gs or (g,))
        if (found := self.intervals_equal(p, g)) is not None:
            return found
        if p.kind in ("tuple", "matrix", "cases", "row") or g.kind in ("tuple", "matrix", "cases", "row"):
            return self.arrays(p, g)
        return self.same_value(p, g)

    def each(self, ps, gs):
        return len(ps) == len(gs) and all(self.equal(p, g) for p, g in zip(ps, gs))

    def percent(self, p, g):
        """50% is 50% or 50 or 0.5, whichever side says %."""
        p, p_signed = (p.items[0], True) if p.kind == "percent" else (p, False)
        g, g_signed = (g.items[0], True) if g.kind == "percent" else (g, False)
        if (not p_signed or g_signed or self.exceeds_one(g)) and self.equal(p, g):
            return True
        hundredth = Node("number", (), (Fraction(1, 100), Fraction(0)))
        if g_signed and not p_signed:
            return self.equal(p, Node("mul", (g, hundredth)))
        return p_signed and not g_signed and self.equal(Node("mul", (p, hundredth)), g)

    def exceeds_one(self, node):
        """50% may be meant by a gold 50, not 0.5% by 0.5."""
        try:
            return abs(self.real(node)) > 1
        except NoValue:
            return False

    def times(self, p, g):
        def clock(node):
            if node.kind == "time":
                return node.value
            if node.kind == "ratio" and len(node.items) == 2 and all(item.kind == "number" for item in node.items):
                return (*(int(item.value[0]) for item in node.items), "")
            return None

        p, g = clock(p), clock(g)
        return bool(p and g) and p[:2] == g[:2] and (p[2] == g[2] or not p[2] or not g[2])

    def ratios(self, p, g):
        """a:b:c up to a factor; 1:2 is 1/2, too."""
        if p.kind == g.kind:
            a, b = p.items, g.items
            return len(a) == len(b) and all(
                self.same_value(Node("mul", (a[0], y)), Node("mul", (x, b[0]))) for x, y in zip(a[1:], b[1:])
            )
        quotients = [
            Node("mul", (n.items[0], Node("inverse", (n.items[1],)))) if n.kind == "ratio" else n for n in (p, g)
        ]
        return len((p if p.kind == "ratio" else g).items) == 2 and self.same_value(*quotients)

    def several(self, node):
        r"""The answers in a list, a set, or an expression with \pm; () for a single one."""
        if node.kind in ("list", "set"):
            return tuple(one for item in node.items for one in self.several(item) or (item,))
        if _has(node, "either"):
            return _choose(node, 1), _choose(node, -1)
        return ()

    def match(self, p, g, ps, gs):
        """Each answer has its partner: in order if one side is a tuple, else in any."""
        if "tuple" in (p.kind, g.kind):
            ordered, other = (p, g) if p.kind == "tuple" else (g, p)
            in_order = other.kind == "list" and ordered.value == "()" and self.each(p.items, g.items)
            return in_order or bool(self.intervals_equal(p, g))
        if len(ps) != len(gs):
            return bool(self.intervals_equal(p, g))
        if len(ps) > 40:
            return self.each(ps, gs)
        rest = list(gs)
        for one in ps:
            partner = next((i for i, other in enumerate(rest) if self.equal(one, other)), None)
            if partner is None:
                return bool(self.intervals_equal(p, g))
            del rest[partner]
        return bool(ps) or p.kind == g.kind == "set"

    def arrays(self, p, g):
        """Tuples and matrices, item by item; a tuple is also a row or a column, and a tuple of tuples a matrix."""
        if p.kind == g.kind:
            if p.kind == "cases":
                return self.match(p, g, p.items, g.items)
            return p.value == g.value and self.each(p.items, g.items)
        if {p.kind, g.kind} != {"tuple", "matrix"}:
            return False
        rows = (p if p.kind == "matrix" else g).items
        listed = (p if p.kind == "tuple" else g).items
        if len(rows) == 1:
            flat = rows[0].items
        elif all(len(row.items) == 1 for row in rows):
            flat = tuple(row.items[0] for row in rows)
        else:
            flat, listed = rows, tuple(Node("row", t.items) if t.kind == "tuple" else t for t in listed)
        return self.each(listed, flat) if p.kind == "tuple" else self.each(flat, listed)

    def relations(self, p, g):
        """x = 5 is 5 under a name, x > 3 an interval; other equations are equal up to a factor."""
        named_p, named_g = self.assigned(p), self.assigned(g)
        if not named_p or not named_g:
            return False
        (p_name, p_value), (g_name, g_value) = named_p, named_g
        if (p_value is not p or g_value is not g) and _names_agree(p_name, g_name) and self.equal(p_value, g_value):
            return True
        if (found := self.intervals_equal(p, g)) is not None:
            return found
        if p.kind != "relation" or g.kind != "relation":
            return False
        p_atoms, g_atoms = _atoms(p), _atoms(g)
        if len(p_atoms) != len(g_atoms):
            return False
        return all(any(self.same_atom(a, b) for b in g_atoms) for a in p_atoms)

    def assigned(self, node):
        """(name, what is said to have it); ("", node) if nothing is named; None for a contradiction or an x = x."""
        if node.kind != "relation" or not set(node.value) <= {"=", r"\approx", r"\in"}:
            return "", node
        parts = node.items
        if self.is_name(parts[-1]) and not self.is_name(parts[0]) and len(parts) == 2:
            parts = parts[::-1]
        named = self.is_name(parts[0])
        values = parts[1:] if named else parts
        known = [v for v in values if not self.letters(v)]
        for other in known[1:]:
            if not self.same_value(known[0], other) and not (r"\approx" in node.value and self.rounds(known[0], other)):
                return None
        if not named and len(known) < len(values) or parts[0] == parts[-1]:
            return None if parts[0] == parts[-1] and len(known) < len(parts) else ("", node)
        return _name(parts[0]) if named else "", known[0] if known else values[-1]

    def is_name(self, node):
        """x, f(x), AB, a+b, P(A), \\sin A: letters and no number."""
        if node.kind == "symbol":
            return node.value != r"\\pi"
        items = [item.items[0] if item.kind == "neg" and node.kind == "add" else item for item in node.items]  # a - b
        return node.kind in ("add", "mul", "call") and all(self.is_name(item) for item in items)

    def same_atom(self, a, b):
        """f = 0 and g = 0, or f > 0 and g > 0: equal if f / g is constant (and positive)."""
        if a.value != b.value:
            return False
        (f,), (g,) = a.items, b.items
        if not self.letters(f) or self.letters(f) != self.letters(g):
            return False
        ratio, agreed = None, 0
        for point in range(POINTS):
            try:
                quotient = self.product([self.finite(f, point), self.inverse(self.finite(g, point))])
            except (NoValue, ArithmeticError):
                continue
            if not _size(_pair(quotient)) or ratio is not None and not _close(ratio, quotient):
                return False
            ratio, agreed = quotient, agreed + 1
            if agreed == AGREE:
                return a.value in ("=", r"\ne") or _pair(ratio)[0] > 0
        return False

    def intervals_equal(self, p, g):
        """As sets of real numbers; None if one of them is none."""
        p, g = self.intervals(p), self.intervals(g)
        if not p or not g:
            return None
        (p_name, p), (g_name, g) = p, g
        if p_name and g_name and p_name != g_name or len(p) != len(g):
            return False
        return all(
            a[2:] == b[2:]
            and all(x == y or x.is_finite() and y.is_finite() and _close((x, 0), (y, 0)) for x, y in zip(a[:2], b[:2]))
            for a, b in zip(p, g)
        )

    def intervals(self, node):
        """(name or "", [(low, high, low is in, high is in)], sorted, merged) of a set of real numbers; else None."""
        name, found = "", []
        lines = (Decimal("-inf"), Decimal("inf"))
        if node.kind == "reals":
            found = [(*lines, False, False)]
        elif node.kind == "tuple" and len(node.items) == 2 and node.value != "()" or node.kind == "interval":
            low, high = self.ends(node.items)
            found = [(low, high, node.value[0] == "[", node.value[1] == "]")] if low is not None and low < high else []
        elif node.kind == "tuple" and len(node.items) == 2:
            low, high = self.ends(node.items)
            found = [(low, high, False, False)] if low is not None and low < high else []
        elif node.kind == "set":
            points = [self.ends((item,))[0] for item in node.items]
            found = [(x, x, True, True) for x in points] if None not in points else []
        elif node.kind == "union":
            for item in node.items:
                if item.kind == "without":
                    out = self.intervals(item.items[0])
                    if not out or any(low != high for low, high, *_ in out[1]):
                        return None
                    for x, *_ in out[1]:
                        found = [piece for part in found for piece in _cut(part, x)]
                    continue
                inner = self.intervals(item)
                if not inner:
                    return None
                found += inner[1]
        elif node.kind == "builder" and len(node.items) == 1:
            inner = self.intervals(node.items[0])
            return inner if inner and inner[0] in ("", node.value) else None
        elif node.kind == "relation":
            name, found = self.line(node)
        elif node.kind == "list" and all(item.kind == "relation" for item in node.items):
            parts = [self.line(item) for item in node.items]
            if len({name for name, _ in parts}) > 1 or not all(part for _, part in parts):
                return None
            name, found = parts[0]
            for _, part in parts[1:]:
                found = _meet(found, part)
            if not found:  # x < 1, x > 3: one of them holds; x > 1, x < 3: both do
                found = [piece for _, part in parts for piece in part]
        return (name, _merge(found)) if found else None

    def ends(self, items):
        """The items as real numbers (perhaps infinite), or Nones."""
        found = []
        for item in items:
            try:
                value = self.value(item)
                found.append(Decimal(value) if isinstance(value, float) else _pair(value)[0])
                if isinstance(value, tuple) and abs(value[1]) > CLOSE:
                    raise NoValue
            except NoValue:
                return (None,) * len(items)
        return found

    def line(self, node):
        """(x, [interval]) of a < x <= b, x > a, x != a, x \\in S; ("", []) of another relation."""
        parts, signs = list(node.items), list(node.value)
        letters = [i for i, part in enumerate(parts) if part.kind == "symbol" and self.letters(part)]
        if len(letters) != 1 or len(parts) > 3:
            return "", []
        at, name = letters[0], parts[letters[0]].value
        if signs == [r"\in"] and at == 0:
            inner = self.intervals(parts[1])
            return (name, inner[1]) if inner else ("", [])
        if len(parts) == 3 and at != 1:
            return "", []
        bounds = self.ends([part for i, part in enumerate(parts) if i != at])
        if None in bounds:
            return "", []
        if signs == [r"\ne"]:
            return name, _cut((Decimal("-inf"), Decimal("inf"), False, False), bounds[0])
        low, high, low_in, high_in = Decimal("-inf"), Decimal("inf"), False, False
        for i, (bound, sign) in enumerate(zip(bounds, signs)):
            if sign not in ("<", ">", r"\le", r"\ge"):
                return "", []
            left = at > 0 and i == 0  # the bound stands left of the letter
            if (sign in ("<", r"\le")) == left:
                low, low_in = bound, sign in (r"\le", r"\ge")
            else:
                high, high_in = bound, sign in (r"\le", r"\ge")
        return (name, [(low, high, low_in, high_in)]) if low < high else ("", [])

    def same_value(self, p, g):
        names = self.letters(p)
        if names != self.letters(g):
            return False
        if not names:
            return self.agree(p, g, None) is True
        agreed, steps = 0, _has(p, "call", STEPS) or _has(g, "call", STEPS)
        for point in range(STEP_POINTS if steps else POINTS):
            found = self.agree(p, g, point)
            if found is False:
                return False
            agreed += found is True
            if agreed == AGREE and not steps:
                return True
        return agreed >= AGREE and steps

    def agree(self, p, g, point):
        """Are two values equal? None where one is undefined."""
        try:
            a, b = self.value(p, point), self.value(g, point)
        except NoValue:
            return None
        if isinstance(a, float) or isinstance(b, float):
            return a == b and type(a) is type(b)
        return _close(a, b) or point is None and self.rounds(p, g)

    def rounds(self, p, g):
        """Is the gold a decimal, and the prediction the same to its last digit? 27.0 and 3e8 are taken as exact."""
        worth = _worth(g)
        if not worth:
            return False
        try:
            a, b = self.real(p), self.real(g)
        except NoValue:
            return False
        if isinstance(a, Fraction) and isinstance(b, Fraction):
            return abs(a - b) <= worth / 2
        return (
            abs(_pair(a)[0] - _pair(b)[0]) <= _pair(worth)[0] / 2
            if not isinstance(a, Decimal)
            else (abs(a - _pair(b)[0]) <= _pair(worth)[0] / 2)
        )


def _worth(node):
    r"""What the last digit of a decimal is worth: 1/100 for 0.33, 10^{-20} for 1.6 \times 10^{-19}. 0 if it is exact; as
    exact counts a decimal of one digit, too: that 1/7 rounds to 0.1 says little."""
    if node.kind == "number":
        return node.value[1] if node.value[0] >= 10 * node.value[1] else Fraction(0)
    if node.kind == "neg":
        return _worth(node.items[0])
    if node.kind == "mul" and len(node.items) == 2:
        first, second = node.items
        if first.kind == "number" and second.kind == "number":
            return _worth(first) * second.value[0]
        if first.kind == "number" and second.kind == "power" and second.items[0] == _integer("10"):
            n, sign = second.items[1], 1
            if n.kind == "neg":
                n, sign = n.items[0], -1
            if n.kind == "number" and n.value[0].denominator == 1 and n.value[0] < 400:
                return _worth(first) * Fraction(10) ** (sign * int(n.value[0]))
    return Fraction(0)


def _has(node, kind, values=None):
    here = node.kind == kind and (values is None or node.value in values)
    return here or any(_has(item, kind, values) for item in node.items)


def _choose(node, sign):
    r"""The expression with every \pm as + (sign 1) or as - (sign -1)."""
    if node.kind == "either":
        inner = _choose(node.items[0], sign)
        return inner if node.value == sign else Node("neg", (inner,))
    return node._replace(items=tuple(_choose(item, sign) for item in node.items))


def _name(node):
    if node.kind == "symbol":
        return node.value
    return f"{node.kind} {node.value}[" + ",".join(_name(item) for item in node.items) + "]"


def _names_agree(a, b):
    """A name and none do, f(x) and f, y and f(x)."""
    short, long = sorted((a, b), key=len)
    return not short or long == short or long.startswith(short + "(") or short == "y" and "(" in long


def _atoms(node):
    """A chain a < b = c as relations to zero: f = 0, f > 0, f >= 0 or f != 0."""
    atoms = []
    for left, sign, right in zip(node.items, node.value, node.items[1:]):
        if sign in ("<", r"\le"):
            left, right = right, left
        kind = {"<": ">", r"\le": r"\ge"}.get(sign, sign)
        atoms.append(Node("atom", (Node("add", (left, Node("neg", (right,)))),), kind))
    return atoms


def _cut(part, x):
    low, high, low_in, high_in = part
    if not low <= x <= high:
        return [part]
    return [piece for piece in ((low, x, low_in, False), (x, high, False, high_in)) if piece[0] < piece[1]]


def _meet(parts, others):
    both = []
    for a in parts:
        for b in others:
            low, low_in = max((a[0], not a[2]), (b[0], not b[2]))
            high, high_in = min((a[1], a[3]), (b[1], b[3]))
            both += [(low, high, not low_in, high_in)] if low < high else []
    return both


def _merge(parts):
    merged = []
    for low, high, low_in, high_in in sorted(parts, key=lambda part: (part[0], not part[2])):
        if merged and (low < merged[-1][1] or low == merged[-1][1] and (low_in or merged[-1][3])):
            last = merged[-1]
            if high > last[1] or high == last[1] and high_in:
                merged[-1] = (last[0], high, last[2], high_in or high == last[1] and last[3])
        else:
            merged.append((low, high, low_in, high_in))
    return merged


def _words(text):
    """Words of each item, in any order of the items; without case and articles."""
    items = re.split(r"[,;，；]|\band\b", text.lower())
    return sorted([w for w in re.findall(r"\w+|[^\w\s]", item) if w not in ("a", "an", "the", ".")] for item in items)


# Choices. (B), B., b, option B, "B: 7"; ABD, "A, B and D", A、B、D.

CHOICE_WORDS = re.compile(r"(?:correct |the )*(?:options?|choices?|answers?)(?: is| are)?[\s:]|选项?|故选", re.I)
WITH_TEXT = re.compile(r"[{\s]*\(?\s*([A-J])\s*(?:\)\s*[.:、]?|[.:、])[}\s]*([^\s},;+*/=^:?].*)", re.S)
ANOTHER = re.compile(r"(?<![A-Za-z\\])\(?[A-J]\s*[.:)、]|\bor\b|\band\b|或")


def choice(text):
    """(set of letters, text that comes with a single letter) of an answer that is a choice, or None."""
    plain = _plain(_unicode(text))
    bare = re.sub(r"[\s(),、，;；.&:*]|\band\b|和", "", CHOICE_WORDS.sub("", plain))
    if re.fullmatch("[a-j]", bare):
        return {bare.upper()}, ""
    if bare and len(bare) <= 10 and set(bare) <= set("ABCDEFGHIJ") and len(set(bare)) == len(bare):
        return set(bare), ""
    found = WITH_TEXT.fullmatch(STYLE.sub(" ", _unicode(text)).replace("$", " "))
    if not found or ANOTHER.search(found[2]):
        return None
    rest = found[2].rstrip()
    return {found[1]}, rest[:-1] if rest.count("}") > rest.count("{") else rest  # the brace of \text{A. 5}


def is_equiv(prediction, gold):
    r"""Is the predicted answer equal to the gold one? See the table above.

    >>> is_equiv(r"x \in (3, \infty)", "x > 3"), is_equiv("12345", "12346"), is_equiv("B: 7", "(B)")
    (True, False, True)
    """
    if not isinstance(prediction, str) or not isinstance(gold, str):
        return False
    prediction, gold = prediction.strip(), gold.strip()
    if prediction == gold or not prediction or not gold:
        return bool(gold) and prediction == gold
    if max(len(prediction), len(gold)) > LIMIT:
        return False
    p, g = choice(prediction), choice(gold)
    if p and g:
        return p[0] == g[0] and (not (p[1] and g[1]) or is_equiv(p[1], g[1]))
    if p and p[1] and is_equiv(p[1], gold) or g and g[1] and is_equiv(prediction, g[1]):
        return True
    try:
        with localcontext(DIGITS):
            pairs = [(a, b) for b in readings(gold) for a in readings(prediction)]
            grader = Grader()
            if any(grader.equal(a, b) for a, b in pairs):
                return True
            grader = Grader(log_base=Fraction(10))
            return "log" in prediction + gold and any(grader.equal(a, b) for a, b in pairs)
    except OutOfWork:
        return False


def verify(response, gold, last_number=False):
    """Is the answer that this response gives the gold one? last_number as for extract_answer."""
    answer = extract_answer(response, last_number)
    return answer is not None and is_equiv(answer, gold)


def understood(gold):
    """Is this gold more than text to compare letter by letter? Words are; an unbalanced or half-written one is not.

    >>> understood(r"\\frac{1}{2}"), understood("east"), understood(r"\\frac{1}{")
    (True, True, False)
    """
    if not isinstance(gold, str) or not gold.strip() or len(gold) > LIMIT:
        return False
    return bool(choice(gold)) or any(node.kind != "text" or _is_words(node.value) for node in readings(gold))
