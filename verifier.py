r"""The answer checker: is the answer in this response the gold answer? Training's reward and evaluation's grade:

    verify(response, gold)  =  is_equiv(extract_answer(response), gold)

In RLVR the verifier is the reward: a false positive is a lesson in cheating, a false negative a lesson lost. Three
steps, and three parts below: *extract* the answer from the response, *parse* it into a small tree, *compare* two trees.

    >>> verify(r"So $x = \frac{6}{4}$, which is \boxed{1\frac12}.", "3/2")
    True
    >>> verify(r"It is \boxed{17} or \boxed{18}.", "17")
    False

How it departs from other checkers. What a model prints is data: nothing is executed, no computer algebra runs. Nothing
can hang: the cost is bounded by the length of the text (at most LIMIT characters, DEPTH levels, BITS bits a number and
WORK steps a verdict), so no timeout is needed, and threads are safe. Anything a model can print is input, not an error:
the answer is False.

    accepted as equal                                       refused
    ------------------------------------------------------  -----------------------------------------------------------
    exact values: 6/4, 1\frac12, 1.5; \sqrt8, 2\sqrt2;      near misses, however near: 12345, 12346; 0.333 for 1/3
      3e8, 3\times10^8; 2^{10}, 1024; i(2-i), 1+2i
      3/4 or 0.75 for 3/4
    rounding, where the gold is a decimal, to the gold's    coarser rounding: 0.3 for 0.33; 0 for 1.6e-19; rounding of
      last digit: 1/3 or 0.333 for 0.33                       a gold such as 0.5 (one digit), 2.0, \frac13, \sqrt2
    gold 50%: 50%, 50, 0.5; answer 50%: gold 50, 0.5, 1/2   0.5 for 50 and 50 for 0.5, where neither says %
    5 cm, \$5, 5 apples for 5, and the reverse; 30° for 30  5 cm for 5 m; \$5 for 5 cents; 5 million for 5; 5m, a
      and for \pi/6; \log as \ln or as \log_{10}              product, for 5
    choices: (B), B., b, option B, "B: 7"; A、B、D for ABD   more letters or fewer; "A or B"; "A. 5 B. 6"; where both
      "B: 7" for a gold 7                                     sides carry a text, another text
    lists and sets in any order; 1\pm2 for 3,-1             one of them, one more; a list of guesses for one value;
      x=1, y=2 and y=2, x=1 for 1, 2                          2, 1 for x=1, y=2
    tuples in order, vectors, matrices                      (1,2) for (2,1), for [1,2], for \{1,2\}
    (3,\infty), x>3, 3<x, \{x \mid x>3\}; |x|<1 for (-1,1)  x>=3, x<3, y>3 for x>3; x for |x|, z for \bar z
    5 for x=5, and the reverse; 2x+y=3 for y=3-2x;          5=6; x=x; y=5 for x=5; x+1=6 for 6; 5 for a line x+y=5
      a^2+b^2=5 for 5
    x(x+1) for x^2+x: equal at points that both accept      other letters: 2k for 2n, x for 5; k \in N for k \in Z
      (positive ones); a last k \in Z may be left out
    101_3 or 101 for 101_3; 1:2, 2:4, 1/2; 3:00 pm, 3 pm;   101_2 for 101_3 or for 101; 3 pm for 3 am; 0:0 for 1:2;
      4 \pmod 3 or 1 for 1 \pmod 3                            7 \pmod 3 for 7
    words, whatever case, article or \text: "The East"      words with anything more or less: "not east"
    a gold that cannot be parsed: the same text             anything for an empty gold; an empty answer

Not known, so that such a gold is only its own text, or its own unit: sums, integrals and limits; determinants, products
of matrices and numbers before them; max and gcd; 100 cm for 1 m; ]a, b[; "one hundred"; other letters (kx for cx).
"""

import math
import operator
import re
import unicodedata
import zlib
from decimal import Context, Decimal, DivisionByZero, InvalidOperation, Overflow, localcontext
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

TAIL = 200_000  # characters of a response that are searched, from its end: longer than any model answers
LIMIT = 2000  # characters of an answer that is parsed; a longer one is compared as text
DEPTH = 30  # brackets, fractions, roots, functions and exponents within one another
BITS = 16_000  # of an exact number, numerator and denominator together: 3^{2023} has 3,207
WORK = 100_000  # steps of one verdict, a step being about a microsecond


# Extract. Three places, the first that is there: the last \boxed{..} or \fbox{..} (boxes that are only joined by commas
# or `and` are a list, never "either one"); a closing phrase (the answer is X, 答案是X, <answer>X</answer>, #### X);
# the last number, if the caller asks for it. What stands in <think>..</think> is never seen.

BRACES = re.compile(r"\\{1,2}(boxed|fbox)(?![A-Za-z])\s*(\{?)|\\(?:[A-Za-z]+|.)|[{}]", re.S)
BARE = re.compile(r"\\[dt]?frac\s*(?:\{[^{}]*\}){2}|[^\s{}$\\.,;]+")  # \boxed 5
JOINT = re.compile(  # between two boxes that make one answer: a comma, `and`, x =, the label of the next part
    r"(?:[\s,，、;；.$&{}]|\\(?:text|q?quad|[,; ()\[\]]))*(and|or|和|或|及)?(?:[\s}$]|\\(?:q?quad|[,; (\[]))*"
    r"((?:\*{0,2}[(（](?:[1-9a-e]|i{1,3}|iv)[)）]\*{0,2}|part [1-9a-e]:?|第[一二三四]空[:：])"
    r"[\s$]*(?:\\[(\[]\s*)?)?(?:[A-Za-z](?:_?\d)?\s*=\s*)?\$?",
    re.I,
)
SPECIAL = re.compile(r"<[|｜][^<>|｜]{1,40}[|｜]>|</?s>")  # <|im_end|>
PHRASE = re.compile(
    r"(?:(?<![A-Za-z])ans(?:wer)?[\s*_]*(?:(?:to|for|of)\s[^.\n]{1,60}?\s)?"
    r"(?:is\b|equals\b|(?:must|should|would) be\b|[:：=])"
    r"|<answer>|(?:final |\*\*|#\s*)answer[*_:\s]*\n|correct (?:option|choice)[\s*_]*(?:is\b|:)"
    r"|(?:hence|thus|so|therefore),?\s+(?:option\s+)?(?=\(?[A-J]\)?\sis\s(?:the\s)?(?:correct|answer))"
    r"|choose(?: option)?(?=\s+[(*]*[A-J]\b)"
    r"|答案[】\]]|答案(?:应该)?\s*(?:[是为:：]|等于)|正确(?:的)?选项[是为:：]|(?:答案|故|因此|所以|应)选择?"
    r"|(?<!不)选择?(?=[\s:：*(]*[A-J])|(?<![解回问])答[:：]|####)"
    r"[\s*_:：,]*(?:(?:therefore|thus|simply|just|indeed|equal to|approximately)\b[\s:,]*)?",
    re.I,
)
DISPLAY = re.compile(r"\\\[(.*?)\\\]|\$\$(.*?)\$\$", re.S)
CLAUSE_END = re.compile(
    r"[.。](?:\s|$)|。|,?\s(?:which|because|since|so)\s|,\s(?:not|as|or about)\s"
    r"|\sis\s(?:the\s)?(?:correct|answer)|[，,](?:因为|所以)|</answer>|\*\*(?:\s|$)"
    r"|\s\((?:(?!or\b|not\b|and\b|but\b)[a-z]{2,}\b|i\.e\.)"
)
OPTIONS = re.compile(r"(?<![A-Za-z])[A-J](?=[.:、]\s)")
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
    text = SPECIAL.sub("\n", _outside_think(text)[-TAIL:])
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
        if token[1]:
            if token[2]:
                opened.append((token.start(), token.end()))
            elif bare := BARE.match(text, token.end()):
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
    """The last box, and those joined to it. An empty one is no answer."""
    parts = [boxes[-1][2]]
    for (_, end, content), (start, _, _) in zip(boxes[-2::-1], boxes[:0:-1]):
        gap = text[end:start]
        joint = JOINT.fullmatch(gap) if len(gap) <= 40 else None
        if not joint or "\n" in gap and not (joint[1] or joint[2]):
            break
        parts.append(content)
    return ", ".join(dict.fromkeys(reversed(parts))) if parts[0] else None  # one answer boxed twice is one answer


def _clause(text):
    """The first clause of what follows "the answer is"."""
    display = DISPLAY.match(text)
    line = (display[1] or display[2] or "") if display else text.split("\n", 1)[0]
    if len(set(OPTIONS.findall(line))) < 2:  # all of "A. 5 B. 6"
        line = CLAUSE_END.split(line, maxsplit=1)[0]
    return line.strip(' *_`"“”✓✔✅') or None


# Parse. Unicode becomes LaTeX, LaTeX becomes tokens, and a descent over the tokens, level by level
#
#     answer , statement (= <) union (\cup) ratio (:) sum (+ -) product (* / and side by side) power (^ !) primary
#
# makes Nodes. Sums and products are flat, so the tree is only as deep as the brackets, and these are capped. Where text
# can be read in two ways ("1,234": one number, or two), both readings are kept. What is not mathematics is kind `text`.


class Unreadable(Exception):
    """Not an answer that this grammar knows."""


class Node(NamedTuple):
    kind: str
    items: tuple = ()
    value: object = None


class Token(NamedTuple):
    kind: str  # number, symbol, function, unit, word, multiple, operator, or end
    text: str


def _table(lines):
    """{spelling: the name that stands first in its line}."""
    return {spelling: line.split()[0] for line in lines.split(";") for spelling in line.split()}


GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho varsigma sigma tau " \
    "upsilon phi chi psi omega"  # fmt: skip
GREEK = GREEK.split()
SYMBOLS = {*GREEK, *(name.capitalize() for name in GREEK), "ell", "varphi", "varepsilon", "vartheta", "mho", "hbar"}
SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ₀₁₂₃₄₅₆₇₈₉", "0123456789+-n0123456789")
UNICODE = str.maketrans(
    {chr(0x3B1 + i): rf"\{name} " for i, name in enumerate(GREEK)}
    | {chr(0x391 + i): rf"\{name.capitalize()} " for i, name in enumerate(GREEK) if name != "varsigma"}
    | {c: rf"\frac{{{n}}}{{{d}}}" for c, n, d in zip("½⅓⅔¼¾⅕⅖⅗⅘⅙⅛⅜⅝⅞", "11213123411357", "23344555568888")}
    | {chr(0x2460 + i): f"({i + 1})" for i in range(20)}  # ①
    | {c: "-" for c in "−–—‐‑﹣"}
    | {c: "" for c in "\u200b\u200c\u200d\u2060\u2061\ufeff“”"}
    | {c: rf"\{name} " for pair in (
        "·cdot ⋅cdot ∙cdot •cdot ∗cdot ×times ÷div ≤le ⩽le ≦le ≥ge ⩾ge ≧ge ≠ne ≈approx ±pm ∓mp ∞infty ∪cup ∈in "
        "∅emptyset √sqrt ⟨langle ⟩rangle ℝR ∘circ ⌊lfloor ⌋rfloor ⌈lceil ⌉rceil "
        "∥parallel ⊥perp ≌cong ≅cong €euro £pounds ¥yen ￥yen"
    ).split() for c, name in [(pair[0], pair[1:])]}
    | {"、": ", ", "，": ", ", "。": ".", "∣": "|", "′": "'", "’": "'"}
    | {"°": r"^\circ ", "º": r"^\circ ", "∶": ":"}
    | {"∛": r"\sqrt[3] ", "¢": " cents", "∠": r"\angle ", "∴": r"\therefore ", "△": r"\triangle "}
)  # fmt: skip

# LaTeX that says nothing about the value; that turns what follows into words; and other spellings of one thing.
SKIPPED = set(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr middle displaystyle textstyle limits boxed fbox mathbf bf it "
    "small large Large LARGE huge tt mathtt boldsymbol mathit mathcal mathsf ensuremath quad qquad "
    "hline triangle angle hat underline checkmark blacksquare square Box , ; ! : ( ) [ ] # @ &".split()
) | {" "}  # fmt: skip
TEXTS = set("text mathrm mbox textrm textbf textit texttt textsf emph textnormal rm hbox operatorname mathop".split())
SPELLINGS = _table(
    r"\frac dfrac tfrac cfrac; \binom dbinom tbinom; \le leq leqslant leqq; \ge geq geqslant geqq; \ne neq; * cdot "
    r"times ast bullet; / div; \emptyset varnothing O; \vec overrightarrow; \cup bigcup; \setminus backslash "
    r"smallsetminus; \approx simeq doteq; \overline bar; "
    r"| | lvert rvert vert; \land wedge; \lor vee; \{ lbrace; "
    r"\} rbrace; [ lbrack; ] rbrack; < lt; > gt; : colon; = equiv; \pmod bmod mod; \ldots dots cdots dotsc; "
    r"i imath; % %; _ _"
)
FUNCTIONS = _table(
    "sin; cos; tan tg; cot ctg; sec; csc; arcsin asin; arccos acos; arctan atan arctg; ln; log; lg; exp; abs; floor; "
    "ceil"
)
INEQUALITIES = {"<", ">", r"\le", r"\ge"}
RELATIONS = {"=", "<", ">", r"\le", r"\ge", r"\ne", r"\in", r"\approx"}
CLOSING = {"(": ")]", "[": "])", "{": "}", r"\{": r"\}", r"\langle": r"\rangle", r"\lfloor": r"\rfloor",
           r"\lceil": r"\rceil", "|": "|"}  # fmt: skip
MONEY = {r"\$": "dollar^1", r"\euro": "euro^1", r"\pounds": "lb^1", r"\yen": "yuan^1"}
DEGREE = r"\degree"
TEMPERATURES = ("C", "F", "celsiu", "fahrenheit")  # -s is cut off
MULTIPLES = {"hundred": 100, "dozen": 12, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12,
             "百": 100, "千": 10**3, "万": 10**4, "百万": 10**6, "亿": 10**8}  # fmt: skip
NUMERALS = "zero one two three four five six seven eight nine ten eleven twelve".split()
NAMES = _table(
    r"\pi pi; \infty infinity inf oo; \sqrt sqrt; \theta theta; \alpha alpha; \beta beta; : to; % percent; "
    r"+ plus; - minus negative; \degree degree degrees deg 度; , and or 和 或 及 或者 且"
)
# One name for each spelling of a unit. Any longer word after a number counts as a unit, too, but for those of NO_UNIT.
UNITS = _table(
    "mm millimeter millimetre 毫米; cm centimeter centimetre 厘米; dm; m meter metre 米; km kilometer kilometre "
    "千米 公里; nm; in inch inches 英寸; ft foot feet; yd yard; mi mile; AU; pc; acre; hectare; sq square; cubic "
    "cu; mL ml milliliter; L l liter litre 升; mg; g gram gm 克; kg kilogram 千克 公斤; lb lbs pound; oz ounce; s "
    "sec second 秒; day 天 日; week wk; min minute mins 分钟 分; h hr hrs hour 小时 时; month 个月; year yr yrs "
    "年; mph; kph; N newton; J joule; kJ; cal; kcal; erg; dyne; eV; W watt; V volt; A amp; K kelvin; C; F; T; Hz "
    "hertz; Pa; kPa; mol mole; rad radian; ohm; kWh; cup; Jy; cent; dollar usd 美元; yuan 元 rmb yen 块; people 人; men man; "
    "个; th st nd rd; pt pts point; per; each; unit; mil; boy; girl; car; bus; way; egg; toy; pen; box; bag"
)
NO_UNIT = set(
    "not nor than then if unless except but after before over under squared cubed half halves quarter third more less "
    "least most about above below between from with without maybe probably either neither double doubled twice triple "
    "tripled whatever where when such that wrong correct right true false else otherwise approximately around exactly "
    "also possibly perhaps undefined nothing anything none is are incorrect factorial inverse reciprocal repeating "
    "recurring tens lakh crore score gross couple pair grand root 不 或 至 到 约 以 大 小 左 多 余 折 成 十".split()
) | {
    stem + "th" for stem in "four fif six seven eigh nin ten eleven twelf thirteen twentie hundred thousand million "
    "billion trillion".split()
}  # fmt: skip

THOUSANDS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?!,?[0-9])")
PADDED = re.compile(r",0[0-9]")  # in no list
SPACED_LIST = re.compile(r"[0-9],\s?\\[,;: ]\s?[0-9]")  # 40,\ 150
SPLIT_DIGITS = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:(?:\{,\}|,?\s?\\[,!;: ]\s?|~|\s)[0-9]{3})+(?![0-9])")
DECIMAL_COMMA = re.compile(r"(?<=[0-9])\{,\}(?=[0-9])")  # 3{,}5
TIMES_E = re.compile(r"[0-9]e[+-][0-9](?![0-9])")
FORMULA = re.compile(  # what can be no words, labels or time
    r"[=^+<>|]|\\(?:[dt]?frac|sqrt)(?![a-z])|\A[^mM)0-9]*[0-9][^mM)]*\)?\Z"
)
FORMAL = re.compile(r"[\\^_]")  # in a text that is not understood: mathematics, and no words
UNIT_LETTER = re.compile(  # 5 m, 9.8 m/s^2
    r"((?:[0-9})]|\\pi)(?:\s|\\[;,: ])+)([mgshLlNJWVAKCFT])(?![A-Za-z0-9_('])(?=\s*(?:$|\^|/|\$|,|\\cdot))"
)
TOKEN = re.compile(
    r"\s*(\\(?:[A-Za-z]+|.)|(?:[0-9]+(?:\.[0-9]+|\.(?=\\(?:overline|bar)))?|\.[0-9]+)"
    r"(?:[eE][+-]?[0-9]{1,3}(?![0-9A-Za-z]))?"
    r"|[A-Za-z]+|[\u4e00-\u9fff]+|.)",
    re.S,
)
STYLE = re.compile(
    r"\\(?:text|mathrm|mbox|textrm|textbf|textit|texttt|textsf|emph|mathbf|boldsymbol|rm|bf|boxed|displaystyle|small|[lL]arge|huge"
    r"|left|right|[,;!: ]|quad)(?![a-z])"
)
HEAD = re.compile(  # f(x), f^{-1}(x), (x,y); f(2), P(X=1), f(x)_{\max}; dy/dx, x1, \max, \lim_{x\to0}f(x), |A\cap B|
    r"(?:\\?[A-Za-z]+(?:_(?:\{\w+\}|\w))?'*(?:\^\{-1\})?)?\(\\?[A-Za-z]+(?:_\{?\w+\}?)?(?:,\\?[A-Za-z]+(?:_\{?\w+\}?)?)*\)"
    r"|\\frac\{d[a-z]\}\{d[a-z]\}"
    r"|[fghACDEFGP](?:_(?:\{\w+\}|\w))?'*(?:\^\{-1\})?\(.+\)(?:_\{?\\?(?:max|min)\}?)?|[a-z]_\{?\\?(?:max|min)\}?"
    r"|\\Pr[(\[].+[)\]]|\\complement.+|[a-z][0-9]|\\?(?:max|min)|\\(?:gcd|max|min)(?:\(.+\)|\\\{.+\\\})"
    r"|\\(?:lim|sum|prod|int)_.+|[A-Z](?:\\c[au]p[A-Z])+|\|[^|]+\\c[au]p[^|]+\|"
)
STYLED = r"(?:\s*\\(?:text|mathrm)\s*\{[^{}]*\}(?:\s*\\cdot(?![a-z])|\s*\^\{?[0-9]\}?)*)+\s*"  # \text{J}\cdot\text{s}^2
# What is written in more than one way: LaTeX of several ages, data sets' own, and plain text. Each is looked for only
# where its first word, a part of whatever it matches, occurs: most answers have none of them.
REWRITES = [(cue, re.compile(pattern), to) for cue, pattern, to in (
    (".", r"\\(?:left|right)\s*\.", ""),
    ("color", r"\\(?:text)?color\s*\{\w+\}", ""),
    ("space", r"\\[hv]space\*?\s*\{[^{}]*\}", " "),
    ("choose", r"\{([^{}]*)\\choose(?![a-z])([^{}]*)\}", r"\\binom{\1}{\2}"),
    ("over", r"\{([^{}]*)\\over(?![a-z])([^{}]*)\}", r"\\frac{\1}{\2}"),
    ("dot", r"(?<=[0-9.])\\dot\s*\{?([0-9])\}?([0-9]*)\\dot\s*\{?([0-9])\}?", r"\\overline{\1\2\3}"),
    ("dot", r"(?<=[0-9.])\\dot\s*\{?([0-9])\}?", r"\\overline{\1}"),
    ("frac", rf"\\[dt]?frac\s*\{{({STYLED})\}}\s*\{{({STYLED})\}}", r" \1/(\2)"),
    ("Omega", r"(?<=[0-9}])(?:\s|\\[;,: ])*\\Omega(?![a-z])(?=\W*$)", r"\\text{ ohm}"),
    ("mu",
     r"(?<=[0-9}])(?:\s|\\[;,: ])*\\mu\s*(?:\\(?:text|mathrm)\s*\{)?\s*([mgslLFACVW])\s*\}?(?=\W*$)", r"\\text{ u\1}"),
    ("", r"^(?:\\text\s*\{)?(?:US|USD|EUR|GBP|INR|Rs\.?|RMB|CNY)\s*\}?\s*(?=\\?\$|[0-9])", ""),
    ("circled", r"\\textcircled\s*\{([0-9]+)\}", r"(\1)"),
    ("^", r"\^\s*\{\s*(?:\\(?:text|mathrm)\s*\{\s*)?(?:st|nd|rd|th)\s*\}(?:\s*\})?", " th"),
    ("mathbb", r"\\mathbb\s*\{?\s*R\s*\}?\s*[\^_]\s*\{?\s*\+\s*\}?", r"(0,\\infty)"),
    ("mathbb", r"\\mathbb\s*\{?\s*R\s*\}?", r"\\R "),
    ("mathbb", r"\\mathbb\s*\{?\s*([ZNQC])\s*\}?", r" \1"),
    ("10", r"(?<=[0-9])\s*x\s*(?=10\s*\^)", r"\\times "),  # 3 x 10^8
    ("~", r"^~(?=[A-Za-z])", r"\\neg "), 
    ("mod", r"\\(?:text|mathrm|operatorname)\s*\{\s*mod\s*\}", "mod"),
    ("mod", r"\(\\?\bmod((?:\s|\\[ ,;:])*[0-9A-Za-z]+)\)", r"\\pmod{\1}"),
    ("mod", r"(?<![A-Za-z\\])mod(?:\s|\\[ ,;:])*([0-9A-Za-z]+)$", r"\\pmod{\1}"),
    ("\\\\", r"\\\\\s*\[[^\[\]]{1,8}\]", r"\\\\ "), (r"\end", r"[.;,]\s*(?=\\end)", ""),
    (")_", r"\(([0-9]+)\)_", r"\1_"), ("_{(", r"_\{\(([0-9]+)\)\}", r"_{\1}"), ("...", r"\.\.\.+", r"\\ldots "),
    ("(",  # y = x^2 (x > 0)
     r"(?<!\\left)(?<=[\w})])(?:\s|\\[ ,;:])*\((?=[^()]*(?:[<>]|\\[lg]eq?\b|\\ne))([^()]*)\)$", r", \1"),
    ("**", r"\*\*", "^"), (">=", r">=", r"\\ge "), ("<=", r"<=", r"\\le "), ("==", r"==", "="),
)]  # fmt: skip
SPACED = re.compile(r"\\math(?:bf|rm)\s*\{\s*[0-9](?:\s[0-9])+\s*\}")  # \mathbf{1 8}, as some data sets have it
SYSTEM = re.compile(
    r"(\\\{\s*)?\\begin\{(array|matrix|aligned|align\*?|gathered)\}(?:\{[^{}]*\})?(.*?)\\end\{\2\}", re.S
)
CONDITION = re.compile(  # k \in Z, at the end
    r"(?<=[\w})\]])(?:[\s,，$(（]|\\[ ,;:]|\\q?quad|\\text\s*\{[\s,]*(?:(?:where|with|for)\s*)?\})*(?<![A-Za-z\\])([a-z])"
    r"\s*(?:\\in|∈)\s*(?:\\math(?:bb|bf|rm)\s*)?(\{\s*[ZN]\s*\}|[ZN])((?:_|\^)?(?:[+*]|\{[+*]\}))?\s*[)）]?"
    r"(?=(?:\\right|\\[})\]]|\\q?quad|[\s.。$}*])*$)"
)
TIME = re.compile(r"(\d{1,2})(?::(\d\d))?\s*([ap])\.?\s?m\.?", re.I | re.A)
LABELS = re.compile(r"(?:\(\d{1,2}\)[,;\s]*){2,}", re.A)  # ①③④, once the circles are gone
ESCAPED_TWICE = re.compile(r"\\\\(?=[A-Za-z])")  # \\frac
LEAD = re.compile(
    r"\s*(\\text\s*\{)?\s*(?:(?:the\s+)?(?:final\s+)?answer(?:\s+is\b|\s*[:：=])\s*[:=]?|答案[是为:：]|(?:一?共)有)(\s*\})?",
    re.I,
)
NAMELESS = set(FUNCTIONS) | SYMBOLS | NO_UNIT
SAID = re.compile(  # Total: 12; \text{the minimum is } 5; \text{Center } (3,5)
    r"(\\text\s*\{\s*)?(?=[A-Za-z ]*[a-z]{3})([A-Za-z]{2}[A-Za-z ]{1,40}?)\s*"
    r"(?:(?:[:：]|\b(?:is|are|equals)\b)(?=.*(?:[0-9]|\\(?:pi|sqrt|infty|emptyset)))(\s*\})?"
    r"|(?<=point|enter|ertex|focus)\s*(\})?(?=\s*\())",
    re.S,
)
NOTHING = {"no solution", "no solutions", "no real solution", "no real solutions", "no real roots", "empty set", "无解",
           "无实数解", "空集"}  # fmt: skip
EVERYTHING = {"all real numbers", "all reals", "全体实数"}


OPEN = Token("operator", "{")


def tokenise(text):
    r"""LaTeX or plain text as Tokens. Letters side by side are symbols, unless they are a name, a unit, or a long word;
    in \text{..} they are a word at once."""
    tokens, styles, starting = [], [], False  # styles: of each open brace, is it that of a \text?
    for t in TOKEN.findall(text.strip()):
        if t == "{":
            styles.append(starting)
            found = () if starting else (OPEN,)
            starting = False
        elif t == "}" and styles and styles.pop():
            continue
        elif t == "." and tokens and tokens[-1].kind in ("unit", "word"):  # sq. units
            continue
        else:
            found = _tokens(t, True in styles[-2:])
            starting = t[1:] in TEXTS or starting and not found
        tokens += found
    for last in ("\\\\", "."):
        if tokens and tokens[-1].text == last:
            tokens.pop()
    return tokens


@lru_cache(1024)  # answers are made of few different words
def _tokens(t, styled):
    """What one match of TOKEN stands for: mostly one Token; for `xy`, two; for what says nothing, none."""
    if t[0] in "0123456789" or t[0] == "." and len(t) > 1:
        return (Token("number", t),)
    if t.isalpha():
        return tuple(_word(t, styled))
    name = t[1:]
    if t[0] != "\\" or not name:
        return (Token("operator", t),) if t not in "$~\\" else ()
    if name in TEXTS or name in SKIPPED:
        return ()
    if name in FUNCTIONS:
        return (Token("function", FUNCTIONS[name]),)
    t = SPELLINGS.get(name, t)
    return (Token("symbol" if name in SYMBOLS or t == "i" else "operator", t),)


def _word(t, styled):
    low = t.lower() if len(t) > 2 else t
    single = low[:-1] if len(low) > 3 and low.endswith("s") and low not in NO_UNIT else low
    squares = {"平方": "^2", "立方": "^3"}.get(t[:2])
    for name in ("ln", "sin", "cos", "tan", "log"):
        if t.startswith(name) and len(t) == len(name) + 1 and not styled:  # lnx
            return [Token("function", name), Token("symbol", t[-1])]
    if low in NO_UNIT and low not in NAMES:
        return [Token("word", low)]
    if t in FUNCTIONS:
        return [Token("function", FUNCTIONS[t])]
    if low in NAMES:
        return [Token("symbol" if NAMES[low][1:] in SYMBOLS else "operator", NAMES[low])]
    if single in MULTIPLES:
        return [Token("multiple", single)]
    if low in NUMERALS:
        return [Token("number", str(NUMERALS.index(low)))]
    unit = UNITS.get(t) or UNITS.get(low) or UNITS.get(single)
    if unit and (styled or len(t) > 1 or not t.isascii()):
        return [Token("unit", unit)]
    if squares and t[2:] in UNITS:
        return [Token("unit", UNITS[t[2:]] + squares)]
    if len(t) > 1 and (len(t) > 3 or styled) or not t.isascii():
        return [Token("word", single)]
    return [Token("symbol", c) for c in t]


END = Token("end", "")
AFTER_PRODUCT = frozenset(("", "+", "-", ",", "=", ")", "}"))  # no factor begins with these: most products end so
FACTORS = frozenset(r"( [ { \frac \sqrt \binom \vec \overline \tilde \lfloor \lceil".split())
SIGNS = frozenset(("+", "-", r"\pm", r"\mp"))
JOINERS = frozenset((":", r"\cup", "U", r"\setminus"))


class Parser:
    """One reading of a list of tokens, or Unreadable. `kind` and `text` are those of the token that comes next."""

    def __init__(self, tokens):
        self.tokens, self.depth = [*tokens, *[END] * 16], 0
        self.equations = any(t.text == "=" for t in tokens)
        self.bars = 0  # open | signs
        self.in_angle = False  # inside the argument of sin, cos, ..: there, degrees count
        self.go(0)

    def go(self, at):
        self.at = at
        self.kind, self.text = self.tokens[at]

    def ahead(self, n):
        return self.tokens[self.at + n]

    def take(self):
        if self.kind == "end":
            raise Unreadable
        text = self.text
        self.go(self.at + 1)
        return text

    def accept(self, *texts):
        text = self.text  # that of END is in no texts
        if text not in texts:
            return ""
        self.go(self.at + 1)
        return text

    def expect(self, *texts):
        if self.text not in texts:
            raise Unreadable
        return self.take()

    def deeper(self):
        self.depth += 1
        if self.depth > DEPTH:
            raise Unreadable

    # Level by level, from commas down to products.

    def whole(self):
        self.accept("=", r"\approx", r"\therefore", r"\Rightarrow")
        items = self.answer()
        modulus = self.argument() if self.accept(r"\pmod") else None
        if self.kind != "end":
            raise Unreadable
        node = items[0] if len(items) == 1 else Node("list", items)
        return Node("modulo", (node, modulus)) if modulus else node

    def answer(self):
        """Statements with commas between; 1, 2, and 3 has two commas before the 3."""
        items, logic = [self.statement()], False
        while sign := self.accept(",", ";", r"\land", r"\lor"):
            logic |= sign in (r"\land", r"\lor")
            while self.accept(",", ";"):
                pass
            if self.kind == "end" or self.text in (")", "]", "}", r"\}"):
                break
            items.append(self.statement())
        if logic and any(item.kind != "relation" for item in items):  # p \land q: two statements, no list
            raise Unreadable
        return tuple(items)

    def statement(self):
        node = self.equations and self.head() or self.union()
        if self.text not in RELATIONS:
            return node
        parts, signs = [node], []
        while self.text in RELATIONS:
            signs.append(self.take())
            parts.append(self.union())
        return Node("relation", tuple(parts), tuple(signs))

    def head(self):
        """The left side of f(x) = .., (x, y) = .. or Area = .., as one symbol; None where there is none."""
        ahead = level = 0
        while ahead < 15 and self.ahead(ahead).kind != "end" and (level or self.ahead(ahead).text != "="):
            level += {"(": 1, "{": 1, ")": -1, "}": -1}.get(self.ahead(ahead).text, 0)
            ahead += 1
        tokens = self.tokens[self.at : self.at + ahead] if self.ahead(ahead).text == "=" else []
        name = "".join(t.text for t in tokens)
        words = [t.kind in ("word", "unit") for t in tokens]
        said = any(words[:1]) and all(word or t.text.isupper() for word, t in zip(words, tokens))  # Area of ABC
        if not said and not HEAD.fullmatch(name):
            return None
        self.go(self.at + ahead)
        return Node("symbol", (), name)

    def union(self):
        node = self.sum()
        if self.text not in JOINERS and not self.lessens(node):  # the usual case; these levels are passed for every 5
            return node
        items = [self.ratio(node)]
        sets = items[0].kind in ("tuple", "set", "reals", "builder")
        while sets and self.text in (r"\cup", "U", r"\setminus", "-"):
            less = self.take() in (r"\setminus", "-")
            item = self.ratio(self.sum())
            items.append(Node("without", (item,)) if less else item)
        return Node("union", tuple(items)) if len(items) > 1 else items[0]

    def ratio(self, first):
        items = [first]
        while self.accept(":"):
            items.append(self.sum())
        return Node("ratio", tuple(items)) if len(items) > 1 else first

    def sum(self):
        node = self.signed(self.product)
        if self.text not in SIGNS:
            return node
        items = [node]
        while self.text in SIGNS and not self.lessens(items[-1]):
            items.append(self.signed(self.product))
        return Node("add", tuple(items)) if len(items) > 1 else node

    def lessens(self, node):
        r"""\R - \{3\}"""
        return self.text == "-" and node.kind == "reals" and self.ahead(1).text == r"\{"

    def signed(self, operand):
        if self.text not in SIGNS:
            return operand()
        minus, either = False, 0
        while sign := self.accept("+", "-", r"\pm", r"\mp"):
            minus ^= sign == "-"
            either = {r"\pm": 1, r"\mp": -1}.get(sign, either)
        node = operand()
        if either:
            return Node("either", (node,), -either if minus else either)
        return Node("neg", (node,)) if minus else node

    def product(self):
        if self.text in MONEY:
            self.deeper()
            name, node = MONEY[self.take()], self.product()
            self.depth -= 1
            names = [name, *node.value.split()] if node.kind == "unit" else [name]
            return Node("unit", node.items if node.kind == "unit" else (node,), " ".join(sorted(set(names))))
        start, node = self.at, self.power()
        if self.text in AFTER_PRODUCT:
            return node
        factors = [node]
        while self.text not in AFTER_PRODUCT:
            whole = self.at == start + 1 and _is_integer(factors[-1])  # just now, a plain 3: 3\frac12 is 3 + 1/2
            start = self.at
            if self.accept("*"):
                start = self.at
                factors.append(self.signed(self.power))
            elif self.accept("/"):
                factors.append(Node("inverse", (self.signed(self.power),)))
            elif whole and (self.kind == "number" or self.text == r"\frac"):
                part = self.plain_fraction() if self.kind == "number" else self.power()
                if part.kind == "unit" and _is_proper(part.items[0]):  # 38\frac47^\circ
                    return part._replace(items=(Node("add", (factors[-1], *part.items)),))
                factors[-1:] = [Node("add", (factors[-1], part))] if _is_proper(part) else [factors[-1], part]
            elif (
                self.kind in ("unit", "word")
                or self.text == DEGREE
                or whole
                and self.text == "("
                and self.ahead(1).kind in ("unit", "word")
                and len(self.ahead(1).text) > 1
            ):  # 5 (units)
                return Node("unit", (_mul(factors),), self.unit())
            elif self.text in MONEY:
                return Node("unit", (_mul(factors),), MONEY[self.take()])
            elif self.text == "%" and factors[0].kind != "percent":
                self.take()
                factors = [Node("percent", (_mul(factors),))]
            elif self.kind == "multiple":
                factors.append(_number(MULTIPLES[self.take()]))
            elif self.side_by_side():
                factors.append(self.power())
            else:
                break
        kinds = [f.kind for f in factors]
        point = kinds == ["symbol", "tuple"] and factors[0].value.isupper() and factors[1].value == "()"
        return Node("relation", tuple(factors), ("=",)) if point else _mul(factors)  # P(1,2)

    def side_by_side(self):
        """Does another factor follow without a sign between? A | opens only where none is open."""
        if self.text == "|":
            return not self.bars
        return self.kind in ("number", "symbol", "function") and self.text != "U" or self.text in FACTORS

    def plain_fraction(self):
        above = self.number()
        self.expect("/")
        fraction = _mul([above, Node("inverse", (self.number(),))])
        if not _is_proper(fraction):
            raise Unreadable
        return fraction

    def unit(self):
        """cm, m/s^2, degrees, apples per day, (units): everything to the end of the phrase, as one name, in which the
        order of the units does not count. What follows a / or `per` is below."""
        powers, sign, opened = {}, 1, False
        while True:
            t, after = self.text, self.ahead(1)
            if self.kind in ("unit", "word") or t == DEGREE or self.kind == "symbol" and powers and t in UNITS:
                if t in NO_UNIT or t[0] in NO_UNIT or len(t) > 25:
                    raise Unreadable
                self.take()
                if t in ("per", "each"):
                    sign = -1
                elif DEGREE not in powers or t not in TEMPERATURES:
                    power = {"sq": 2, "cubic": 3}.get(t, 1) if self.kind == "unit" else 1
                    name, _, square = (self.take() if power > 1 else t).partition("^")  # 平方米 is m^2
                    exponent = self.raw() if self.accept("^") else square or "1"
                    if not re.fullmatch("-?[1-9]", exponent):
                        raise Unreadable
                    powers[name] = powers.get(name, 0) + sign * power * int(exponent)
                    if abs(powers[name]) > 9:
                        raise Unreadable
            elif t == "/" and (after.kind in ("unit", "word") or after.text in UNITS or after.text == "("):
                self.take()
                sign = -1
            elif t == "*" and (after.kind == "unit" or after.text in UNITS):
                self.take()
            elif t == "(" and not opened and (sign < 0 or not powers):
                self.take()
                opened = True
            else:
                break
        if opened:
            self.expect(")")
        return " ".join(sorted(f"{name}^{power}" for name, power in powers.items()))

    # Powers, and what they are made of.

    def power(self):
        node, wraps = self.primary(), 0
        while self.text in ("^", "!", DEGREE):
            wraps += 1
            if self.text == DEGREE and not self.in_angle:
                break
            if wraps > 4:
                raise Unreadable
            if self.accept("!"):
                node = Node("factorial", (node,))
            elif self.accept(DEGREE) or self.circle():
                node = _radians(node) if self.in_angle else Node("unit", (node,), DEGREE + "^1")
                self.accept(*TEMPERATURES)
            else:
                self.expect("^")
                self.deeper()
                node = Node("power", (node, self.signed(self.power)))
                self.depth -= 1
        return node

    def circle(self):
        r"""Takes ^\circ or ^{\circ}, if that is what comes."""
        ahead = [self.ahead(i).text for i in range(4)]
        taken = 2 if ahead[1] == r"\circ" else 4 if ahead[1:] == ["{", r"\circ", "}"] else 0
        self.go(self.at + taken)
        return taken

    def primary(self):
        t, kind = self.text, self.kind
        if kind == "unit" and len(t) in (2, 3) and t.isalpha():  # mn, mg: no number before it, so a product
            self.tokens[self.at : self.at + 1] = [Token("symbol", c) for c in t]
            self.go(self.at)
            kind = self.kind
        if kind == "number":
            return self.number()
        if kind == "symbol" or kind == "unit" and len(t) == 1:  # \text{K}
            return self.symbol()
        self.deeper()
        node = self.call() if kind == "function" else self.group() if t in CLOSING else self.command(self.take())
        self.depth -= 1
        return node

    def command(self, name):
        if name == r"\frac":
            return _mul([self.argument(), Node("inverse", (self.argument(),))])
        if name == r"\binom":
            return Node("binomial", (self.argument(), self.argument()))
        if name == r"\sqrt":
            degree = _number(2)
            if self.accept("["):
                degree = self.sum()
                self.expect("]")
            inside = self.number() if self.kind == "number" else self.signed(self.primary)
            return Node("power", (inside, Node("inverse", (degree,))))
        if name == r"\vec":
            return Node("symbol", (), "vec " + self.raw())
        if name == r"\tilde":
            return Node("symbol", (), "tilde " + self.raw())
        if name == r"\overline":  # the conjugate of z is not z; the segment AB is AB
            after_number = self.at > 1 and self.tokens[self.at - 2].kind == "number"
            inside = self.argument()
            if inside.kind == "symbol" and inside.value != "i":
                return Node("symbol", (), "bar " + inside.value)
            if after_number if inside.kind == "number" else not _is_name(inside):  # 1\overline{6} is no product
                raise Unreadable
            return inside
        if name == r"\begin":
            return self.environment()
        if name not in (r"\infty", r"\emptyset", r"\R"):
            raise Unreadable
        return Node({r"\infty": "infinity", r"\emptyset": "set", r"\R": "reals"}[name])

    def argument(self):
        r"""What \frac takes: {..}, or one digit, or one symbol. \frac12 is one half."""
        t = self.text
        if self.kind == "number" and len(t) > 1 and t.isdigit():
            self.tokens[self.at] = Token("number", t[1:])
            self.go(self.at)
            return _number(int(t[0]))
        return self.signed(self.primary)

    def raw(self):
        """The text of a group or of one token, unparsed: for subscripts and arrows."""
        if not self.accept("{"):
            return self.accept("-") + self.take()
        start, depth = self.at, 1
        while depth:
            depth += {"{": 1, "}": -1}.get(self.take(), 0)
        return "".join(t.text for t in self.tokens[start : self.at - 1])

    def number(self):
        r"""A number with its last digit's worth: 2.50 is (5/2, 1/100); an integer, or 2.0, is exact: (2, 0). So is
        0.1\overline{6}. And 101_3, digits in a base, is a kind of its own."""
        if self.kind != "number":
            raise Unreadable
        text = self.take()
        if text.isdecimal() and len(text) <= 1000 and self.text != "_":
            return _number(int(text))
        digits, _, exponent = text.lower().partition("e")
        whole, point, decimals = digits.partition(".")
        if len(digits) > 1000:
            raise Unreadable
        if self.accept("_"):
            base = self.raw()
            base = str(NUMERALS.index(base)) if base in NUMERALS else base
            if not (text.isdecimal() and base.isdecimal() and len(base) < 3 and 2 <= int(base) <= 36):
                raise Unreadable
            return Node("base", (), (text.lstrip("0"), int(base)))
        value, places = Fraction(int((whole + decimals) or 0), 10 ** len(decimals)), len(decimals)
        if point and self.accept(r"\overline"):
            period = self.raw()
            if not period.isdecimal() or len(period) > 100 or exponent:
                raise Unreadable
            return _number(value + Fraction(int(period), 10**places * (10 ** len(period) - 1)))
        scale = Fraction(10) ** int(exponent or 0)
        return _number(value * scale, scale / 10**places if decimals.strip("0") else 0)

    def symbol(self):
        start, name = self.at, self.take()
        while self.text in ("_", "'"):
            name += self.accept("'") or self.take() + self.raw().replace("\\", "")
        if not name.startswith("C_") or not self.accept("^"):
            return Node("symbol", (), name)
        self.go(start + 2)  # C_n^k, as Chinese textbooks write it
        self.deeper()
        above = self.argument()
        self.expect("^")
        node = Node("binomial", (above, self.argument()))
        self.depth -= 1
        return node

    def call(self):
        r"""\sin 2x, \sin^2 x, \log_2 3, ln(x). Without brackets, the argument goes to the next sign or function."""
        name, base, exponent = self.take(), None, None
        while sign := self.accept("_", "^"):
            if sign == "_":
                base = self.argument()
            else:
                exponent = self.signed(self.primary)
        outer, self.in_angle = self.in_angle, name in ("sin", "cos", "tan", "cot", "sec", "csc")
        if self.text in CLOSING:
            inside = self.group()
        else:
            factors = [self.signed(self.power)]
            while self.side_by_side() and self.kind != "function" and self.text not in ("(", "[", "|"):
                factors.append(self.power())
            inside = _mul(factors)
        self.in_angle = outer
        if exponent == Node("neg", (_number(1),)):
            name, exponent = "arc" + name, None  # \sin^{-1}
        if name == "lg":
            name, base = "log", _number(10)
        node = Node("call", (inside, base) if base else (inside,), name)
        return Node("power", (node, exponent)) if exponent else node

    def group(self):
        opening, outer = self.take(), self.bars
        if self.kind == "number" and opening in "{(" and self.ahead(1).text == CLOSING[opening][0]:
            node = self.number()  # {5}: the usual case
            self.take()
            return node
        self.bars = 1 if opening == "|" else 0
        may_build = opening == r"\{" or opening == "{" and self.at == 1
        name = self.builder() if may_build else None
        items = () if self.text == CLOSING[opening] else self.answer()
        closing = self.expect(*(CLOSING[opening] if opening in "([" else [CLOSING[opening]]))
        self.bars = outer
        if name:
            return Node("builder", items[:1] if len(items) == 1 else (Node("list", items),), name)
        if opening == r"\{" or opening == "{" and len(items) > 1:
            return Node("set", items)
        if len(items) > 1 and opening in ("(", "[", r"\langle"):
            return Node("tuple", items, "()" if opening == r"\langle" else opening + closing)
        if len(items) != 1 or closing != CLOSING[opening] and closing != CLOSING[opening][0]:
            raise Unreadable
        if opening in (r"\lfloor", r"\lceil", "|"):
            return Node("call", items, {"|": "abs"}.get(opening, opening[2:]))
        return items[0]

    def builder(self):
        r"""Takes the `x \mid` or `x \in \R :` that opens a set by its condition, and gives the name; else None."""
        start, name = self.at, self.symbol().value if self.kind == "symbol" else None
        if name and self.accept(r"\in"):
            self.raw()
        if name and self.accept("|", r"\mid", ":"):
            return name
        self.go(start)
        return None

    def environment(self):
        name = self.raw()
        if name == "array":
            self.raw()  # {cc}
        rows, row, sign = [], [], ""
        while sign != r"\end":
            self.accept("if", "when", "for")
            row.append(self.statement())
            if self.accept(",") and self.text not in ("&", "\\\\", r"\end"):  # x, x > 0 for x & x > 0
                continue
            sign = self.expect("&", "\\\\", r"\end")
            if sign != "&":
                rows.append(Node("row", tuple(row)))
                row = []
                sign = self.accept(r"\end") or sign
        self.raw()
        if name in ("cases", "case"):
            columns = {len(row.items) for row in rows}
            return Node("list", tuple(row.items[0] for row in rows)) if columns == {1} else Node("cases", tuple(rows))
        if name.strip("pbB") not in ("matrix", "array", "smallmatrix"):
            raise Unreadable
        return Node("matrix", tuple(rows))


def _number(value, worth=0):
    return Node("number", (), (value, worth))


def _mul(factors):
    return Node("mul", tuple(factors)) if len(factors) > 1 else factors[0]


def _over(a, b):
    return Node("mul", (a, Node("inverse", (b,))))


def _radians(degrees):
    return Node("mul", (degrees, Node("symbol", (), r"\pi"), _number(Fraction(1, 180))))


def _is_integer(node):
    return node.kind == "number" and node.value[0].denominator == 1


def _is_proper(node):
    r"""Is it \frac{a}{b} with integers 0 < a < b?"""
    if node.kind != "mul" or len(node.items) != 2 or node.items[1].kind != "inverse":
        return False
    a, b = node.items[0], node.items[1].items[0]
    return _is_integer(a) and _is_integer(b) and 0 < a.value[0] < b.value[0]


def readings(text):
    """The ways to read an answer, as Nodes: never empty. Kind `text` is for what is not understood, or is words."""
    text = text.strip()
    if lead := LEAD.match(text):
        text = (r"\text{" if lead[1] and not lead[2] else "") + text[lead.end() :]
    if (said := SAID.match(text)) and not NAMELESS.intersection(said[2].lower().split()):
        text = (
            rf"\text{{{said[2]}}}=" + (r"\text{" if said[1] and not (said[3] or said[4]) else "") + text[said.end() :]
        )
    text = text.strip()
    text = text.strip(" *") if text.startswith("*") else text
    text = _latex(text)
    if "\\\\" in text and r"\begin" not in text:
        text = ESCAPED_TWICE.sub(r"\\", text)
    elif r"\\begin" in text:
        text = text.replace("\\\\", "\\")
    for cue, pattern, to in REWRITES:
        if cue in text:
            text = pattern.sub(to, text)
    if r"\math" in text:
        text = SPACED.sub(lambda m: re.sub("[^0-9]", "", m[0]), text)
    if r"\begin" in text:
        text = SYSTEM.sub(_system, text)
    found = []
    if not FORMULA.search(text):
        plain = _plain(text)
        if special := _special(plain):
            return [special]
        product = len(plain) <= 3 and plain.isascii() and plain.isalpha() and not set(plain) <= set("IVX")
        found = [Node("text", (), plain)] if _is_words(plain) else []
        if found and (not product or plain.lower() in ("no", "on", "yes")):
            return found
    written, text = text, SPLIT_DIGITS.sub(lambda m: re.sub("[^0-9]", "", m[0]), text)
    if "," in text:
        text = DECIMAL_COMMA.sub(".", text)
    ways = [text]
    if "," in text and THOUSANDS.search(text):
        ways = [THOUSANDS.sub(_one_number, text)]
        if ways != [text] and not PADDED.search(text):
            ways.append(text.replace(",", ", "))
    if SPACED_LIST.search(written):
        ways.append(written)
    if UNIT_LETTER.search(text):
        ways.append(UNIT_LETTER.sub(r"\1\\text{\2}", ways[0]))
    if "e" in text and TIMES_E.search(text):
        ways.append(text.replace("e", " e "))  # 2e-1 is also two e minus one
    for way in ways:
        try:
            found.append(Parser(tokenise(way)).whole())
        except Unreadable:
            continue
    if found:
        return found
    tokens = [t.text for t in tokenise(written)]
    plain = _plain(written)
    return [Node("text", (), " ".join(_unbraced(tokens)) if FORMAL.search(plain) else plain)]


def _unbraced(tokens):
    """x^2 for x^{2}."""
    kept = []
    for t in tokens:
        if t == "}" and kept[-2:-1] == ["{"]:
            t = kept.pop()
            kept.pop()
        kept.append(t)
    return kept


def _system(match):
    r"""Equations one below the other, after a brace, as cases."""
    brace, name, rows = match.groups()
    columns = name in ("array", "matrix")  # elsewhere, a & only shows where to align
    if columns and not brace:
        return match[0]
    return rf"\begin{{cases}}{rows if columns else rows.replace('&', '')}\end{{cases}}"


def _one_number(match):
    """1,234 as 1234, but for what stands in brackets, where commas separate."""
    before = match.string[: match.start()]
    before = re.sub(r"\\[()\[\]]", "", before)
    opened = sum(before.count(c) for c in ("(", "[", r"\{")) - sum(before.count(c) for c in (")", "]", r"\}"))
    return match[0] if opened > 0 and not PADDED.search(match[0]) else match[0].replace(",", "")


def _latex(text):
    """Unicode as LaTeX; at most four times as long as an answer may be, since some characters stand for many."""
    if text.isascii():
        return text
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda m: "^{" + m[0].translate(SUPERSCRIPTS) + "}", text)
    text = re.sub("(?<=[0-9])，(?=[0-9]{3}(?![0-9]))", ",", text)
    text = re.sub("[₀-₉]+", lambda m: "_{" + m[0].translate(SUPERSCRIPTS) + "}", text)
    return unicodedata.normalize("NFKC", text.translate(UNICODE))[: 4 * LIMIT]


def _plain(text):
    """Words without LaTeX around them: one space between words, no full stop."""
    return " ".join(re.sub(r"[{}$~]|\\[()\[\],;!]", "", STYLE.sub(" ", text)).split()).strip(' .*"`')


def _is_words(plain):
    r"""Two letters or more, no digit, no sign of mathematics, and no name that means something: \pi, ln, infinity."""
    runs = re.findall(r"[^\W\d_]+", plain)
    longest = max(map(len, runs), default=0)
    if longest < 2 or any(not (c.isalpha() or c in " ',.-;:&/") for c in plain):
        return False
    if any(r in FUNCTIONS or r[:-1] in FUNCTIONS or NAMES.get(r.lower(), ",") != "," for r in runs):
        return False
    return longest > 3 or not re.search("[-/]", plain)


def _special(plain):
    """What is not mathematics, and yet more than words: times, labels, nothing, everything. None for the rest."""
    low = plain.lower()
    if time := TIME.fullmatch(plain):
        return Node("time", (), (int(time[1]), int(time[2] or 0), time[3].lower()))
    if LABELS.fullmatch(plain):
        return Node("list", tuple(_number(int(n)) for n in re.findall("[0-9]+", plain)))
    if low in NUMERALS:
        return _number(NUMERALS.index(low))
    return Node("set") if low in NOTHING else Node("reals") if low in EVERYTHING else None


# Compare. Kind by kind, and in each kind item by item, down to values. A value is an int or a Fraction while it is
# rational, and is then compared exactly. Otherwise it is a pair of 80-digit decimals (real, imaginary), compared to 50
# digits: what people write with a few roots, \pi and e is either equal or differs long before. (A sum that swallows a
# term, as \sqrt2 + 10^{-60} does, has no value.) With letters, both sides are evaluated at points where letters are
# numbers: they must agree wherever both are defined, at AGREE points at least.

DIGITS = Context(prec=80, Emax=10**6, Emin=-(10**6), traps=[InvalidOperation, DivisionByZero, Overflow])
CLOSE = Decimal("1e-50")  # relative
NIL = Decimal("1e-70")  # relative: what is left of 0 when roots cancel
POINTS, AGREE = 30, 4
STEP_POINTS = 48  # for what jumps
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")
CONSTANTS = {r"\pi": (PI, Decimal(0)), "e": (Decimal(1).exp(DIGITS), Decimal(0)), "i": (Decimal(0), Decimal(1))}
HALF = Decimal("0.5")
INFINITE = Decimal("inf")
RATIONAL = (int, Fraction)
LINE = (-INFINITE, INFINITE, False, False)  # an interval: low, high, is low in it, is high in it


with localcontext(DIGITS):  # of the series below, the last term first
    TAYLOR = [(1 / Decimal(math.factorial(n)), 1 / Decimal(math.factorial(n + 1))) for n in range(90, -1, -2)]
    LEIBNIZ = [1 / Decimal(n) for n in range(89, 0, -2)]


class NoValue(Exception):
    """Undefined, or beyond the bounds."""


class OutOfWork(Exception):
    """The verdict took more than WORK steps."""


def _pair(a):
    return a if isinstance(a, tuple) else (Decimal(a.numerator) / Decimal(a.denominator), Decimal(0))


def _bits(a):
    return a.numerator.bit_length() + a.denominator.bit_length()


def _size(a):
    return (a[0] * a[0] + a[1] * a[1]).sqrt() if a[1] else abs(a[0])


def _close(a, b):
    if isinstance(a, RATIONAL) and isinstance(b, RATIONAL):
        return a == b
    (ar, ai), (br, bi) = _pair(a), _pair(b)
    largest = max(_size((ar, ai)), _size((br, bi)))
    return _size((ar - br, ai - bi)) <= CLOSE * largest


def _sum(x, y):
    """x + y of decimals: 0 where they cancel but for rounding. A y that x swallows is beyond the digits: no value."""
    total, large = x + y, max(abs(x), abs(y))
    if x and y and (abs(x) < CLOSE * large or abs(y) < CLOSE * large):
        raise NoValue
    return total if abs(total) > NIL * large else Decimal(0)


def _add(a, b):
    return _sum(a[0], b[0]), _sum(a[1], b[1])


def _times(a, b):
    if not a[1] and not b[1]:
        return a[0] * b[0], Decimal(0)
    return _sum(a[0] * b[0], -a[1] * b[1]), _sum(a[0] * b[1], a[1] * b[0])


def _inverse(a):
    if isinstance(a, RATIONAL):
        return Fraction(1, a) if a not in (1, -1) else a
    square = a[0] * a[0] + a[1] * a[1]
    return a[0] / square, -a[1] / square


def _sin_cos(x):
    if abs(x) > 10**20:
        raise NoValue
    x = x.remainder_near(2 * PI)
    square, sine, cosine = -x * x, Decimal(0), Decimal(0)
    for even, odd in TAYLOR:
        sine, cosine = sine * square + odd, cosine * square + even
    return tuple(Decimal(0) if abs(v) < CLOSE else v for v in (sine * x, cosine))


def _arctan(x):
    if x < 0:
        return -_arctan(-x)
    if x > 1:
        return PI / 2 - _arctan(1 / x)
    for _ in range(3):  # halve the angle
        x = x / (1 + (1 + x * x).sqrt())
    square, total = -x * x, Decimal(0)
    for term in LEIBNIZ:
        total = total * square + term
    return 8 * total * x


def _log(a):
    """Natural logarithm of a pair; the imaginary part in (-pi, pi]."""
    size = _size(a)
    if not size:
        raise NoValue
    half = PI if a[1] >= 0 else -PI
    return size.ln(), half / 2 if not a[0] else _arctan(a[1] / a[0]) + (half if a[0] < 0 else 0)


def _exp(a):
    sine, cosine = _sin_cos(a[1])
    return a[0].exp() * cosine, a[0].exp() * sine


def _root(n, k):
    """The integer whose k-th power is n, or None."""
    if k == 2:
        root = math.isqrt(n)
    else:
        root = int((Decimal(n) ** (Decimal(1) / k)).to_integral_value()) if n.bit_length() < 250 else 0
    return root if root**k == n else None


def _trigonometric(name, x):
    if name == "arctan":
        return _arctan(x)
    if name in ("arcsin", "arccos"):
        if abs(x) > 1:
            raise NoValue
        sine = PI / 2 * x if abs(x) == 1 else _arctan(x / (1 - x * x).sqrt())
        return sine if name == "arcsin" else PI / 2 - sine
    sine, cosine = _sin_cos(x)
    ratios = {"sin": (sine, 1), "cos": (cosine, 1), "tan": (sine, cosine), "cot": (cosine, sine), "sec": (1, cosine),
              "csc": (1, sine)}  # fmt: skip
    if name not in ratios:  # \sin^{-1} of what has no inverse here
        raise NoValue
    above, below = ratios[name]
    return above / Decimal(below)


EXPRESSIONS = frozenset("number symbol neg add mul inverse power call factorial binomial percent unit".split())
NO_FORM = ("relation", "unit")  # two of these that suit one value are no two forms of it: 5 cm, 5 m
QUANTITIES = ("add", "neg", "inverse", "mul", "ratio", "call")


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
        """Of a Node at a point (None: no letters): rational, a pair, or an infinity as float. Raises NoValue."""
        key = id(node), point
        if key not in self.values:
            try:
                found = _infinity(node) or self.compute(node, point)
            except (NoValue, ArithmeticError):
                found = None
            self.values[key] = found, node  # the node is kept, so that its id stays its own
        if self.values[key][0] is None:
            raise NoValue
        return self.values[key][0]

    def finite(self, node, point=None):
        found = self.value(node, point)
        if isinstance(found, float):
            raise NoValue
        return found

    def compute(self, node, point):
        self.left -= 1
        if self.left < 0:
            raise OutOfWork
        kind = node.kind
        if kind == "number":
            return node.value[0]
        if kind == "symbol":
            return self.letter(node.value, point)
        if kind not in EXPRESSIONS:
            raise NoValue
        values = [self.compute(item, point) for item in node.items]
        if kind == "mul":
            return self.product(values)
        if kind == "add":
            return self.fold(values, operator.add, _add)
        if kind == "inverse":
            return _inverse(values[0])
        if kind == "power":
            return self.power(*values, point)
        if kind == "call":
            return self.call(node.value, *values)
        if kind in ("factorial", "binomial"):
            return self.choose(values)
        if kind == "neg":
            return -values[0] if isinstance(values[0], RATIONAL) else self.product([-1, *values])
        return values[0] if kind == "unit" else self.product([*values, Fraction(1, 100)])  # percent

    def letter(self, name, point):
        r"""i, e, \pi, or the number that stands for the letter at this point, a function of its name: fractions above
        1, some below, one negative; then integers, for what is only defined there."""
        if name in CONSTANTS:
            return CONSTANTS[name]
        if point is None:
            raise NoValue
        code = zlib.crc32(f"{name} at {point}".encode())
        if point >= 7:
            return 1 + code % (9 if point < POINTS else 97)
        return Fraction(1000 + code % 8999, -997 if point == 6 else 10007 if point in (2, 5) else 997)

    def fold(self, values, exact, pairs):
        """Sum or product: of rationals while there are only such, then of pairs."""
        total = values[0]
        for v in values[1:]:
            if isinstance(v, RATIONAL) and isinstance(total, RATIONAL):
                self.spend(1 + (_bits(v) // 500) ** 2)
                total = exact(total, v)
                if _bits(total) > BITS:
                    raise NoValue
            else:
                self.spend(4)
                total = pairs(_pair(total), _pair(v))
        return total

    def product(self, values):
        return self.fold(values, operator.mul, _times)

    def choose(self, values):
        """n! of [n], or n over k of [n, k]."""
        if any(not isinstance(v, RATIONAL) or v.denominator != 1 or not 0 <= v <= 1500 for v in values):
            raise NoValue
        self.spend(values[0].numerator)
        numbers = [v.numerator for v in values]
        return math.comb(*numbers) if len(numbers) == 2 else math.factorial(*numbers)

    def power(self, a, b, point):
        self.spend(20)
        if isinstance(a, RATIONAL) and isinstance(b, RATIONAL):
            found = self.exact_power(a, b, point)
            if found is not None:
                return found
            if a < 0 and b.denominator % 2:  # the real root: \sqrt[3]{-8} is -2
                return self.product([(-1) ** (b.numerator % 2), self.power(-a, b, point)])
            if a < 0 and b == Fraction(1, 2):
                return Decimal(0), _pair(self.power(-a, b, point))[0]
        if isinstance(b, RATIONAL) and b.denominator == 1 and 0 < abs(b) <= 64:
            found = self.product([_pair(a)] * abs(b.numerator))
            return found if b > 0 else _inverse(found)
        a, b = _pair(a), _pair(b)
        if a[0] >= 0 and not a[1] and not b[1]:
            self.spend(60)
            if b[0] == HALF:  # twenty times faster
                return a[0].sqrt(), Decimal(0)
            return a[0] ** b[0], Decimal(0)
        self.spend(200)
        return _exp(_times(b, _log(a)))

    def exact_power(self, a, b, point):
        """The power of rationals if it is rational, or None. One that is too large has no value among constants."""
        if b.denominator > 1:
            few = a >= 0 and b.denominator < 60
            roots = [_root(n, b.denominator) for n in (a.numerator, a.denominator)] if few else [None]
            if None in roots:
                return None
            a, b = Fraction(*roots), b.numerator
        if a == 0 and b <= 0:
            raise NoValue
        if a in (0, 1, -1):
            return a if b % 2 else a * a
        if abs(b) * _bits(a) > BITS:
            if point is None:
                raise NoValue
            return None
        self.spend((int(abs(b)) * _bits(a) // 500) ** 2)
        return a ** int(b) if b > 0 else Fraction(a) ** int(b)

    def call(self, name, a, base=None):
        self.spend(100)
        x = _pair(a)
        if name == "abs":
            return abs(a) if isinstance(a, RATIONAL) else (_size(a), Decimal(0))
        if name == "exp":
            return _exp(x)
        if name in ("ln", "log"):
            base = base if base or name == "ln" else self.log_base
            return _times(_log(x), _inverse(_log(_pair(base)))) if base else _log(x)
        if x[1]:
            raise NoValue
        if name in ("floor", "ceil"):
            near = x[0].to_integral_value()
            real = a if isinstance(a, RATIONAL) else near if abs(x[0] - near) < CLOSE else x[0]
            return math.floor(real) if name == "floor" else math.ceil(real)
        return _trigonometric(name, x[0]), Decimal(0)

    def letters(self, node):
        """Names of the letters in a Node, constants left out."""
        if id(node) not in self.names:
            names = {n.value for n in _nodes(node) if n.kind == "symbol"} - CONSTANTS.keys()
            self.names[id(node)] = names, node
        return self.names[id(node)][0]

    def same_value(self, p, g):
        if self.letters(p) != self.letters(g):
            return False
        if not self.letters(p):
            return bool(self.agree(p, g, None))
        agreed, steps = 0, self.jumps(p) or self.jumps(g)
        for point in range(STEP_POINTS if steps else POINTS):
            found = self.agree(p, g, point)
            if found is False:
                return False
            agreed += found is True
            if agreed == AGREE and not steps:
                break
        return agreed >= AGREE

    def jumps(self, node):
        """Does it hold |x|, a floor or (-1)^n? These are equal to others at many points without being equal."""
        return any(
            n.kind == "call" and n.value in ("floor", "ceil", "abs")
            or n.kind == "power" and n.items[0].kind == "neg" and self.letters(n.items[1])
            for n in _nodes(node)
        )  # fmt: skip

    def agree(self, p, g, point):
        """Are two values equal? None where one is undefined."""
        try:
            a, b = self.value(p, point), self.value(g, point)
        except NoValue:
            return None
        if isinstance(a, float) or isinstance(b, float):
            return a == b and type(a) is type(b)
        return _close(a, b) or point is None and self.rounds(a, b, _worth(g))

    def rounds(self, a, b, worth):
        """Is a the same as b to b's last digit, which is worth so much?"""
        if isinstance(a, RATIONAL) and isinstance(b, RATIONAL):
            return bool(worth) and abs(a - b) <= worth / 2
        (a, imaginary), (b, _) = _pair(a), _pair(b)
        return bool(worth) and not imaginary and abs(a - b) <= _pair(worth)[0] / 2

    # Comparisons of kinds.

    def equal(self, p, g):
        """Is the prediction p right, where the gold is g? Both are Nodes."""
        self.spend(2)
        kinds = {p.kind, g.kind}
        if p == g:
            return True
        if len(kinds) > 1 and "list" in kinds and kinds & {"unit", "percent"}:
            return self.match(p, g, self.several(p) or (p,), self.several(g) or (g,))
        if kinds == {"percent", "unit"}:  # 10\% of what, but no 10 cm
            return "percent" in (n.items[0].kind for n in (p, g)) and self.unit(p, g)
        if "percent" in kinds:
            return self.percent(p, g)
        if "unit" in kinds:
            return self.unit(p, g)
        if "modulo" in kinds:
            return self.modulo(p, g)
        if "builder" in kinds:
            return self.builders(p, g)
        if "relation" in kinds:
            return self.relations(p, g)
        if "text" in kinds:
            if p.kind != g.kind or FORMAL.search(p.value + g.value):
                return p == g
            return _words(p.value) == _words(g.value)
        if "base" in kinds:
            return self.bases(p, g)
        if "time" in kinds:
            return self.times(p, g)
        if "ratio" in kinds:
            return self.ratios(p, g)
        if kinds == {"union", "list"} and "relation" not in {n.kind for n in p.items + g.items}:  # (0,1) or (1,2)
            p, g = p._replace(kind="union"), g._replace(kind="union")
        ps, gs = self.several(p), self.several(g)
        if not ps and not gs and kinds <= EXPRESSIONS:
            return self.same_value(p, g)
        if ps or gs:
            return self.match(p, g, ps or (p,), gs or (g,)) or bool(self.intervals_equal(p, g))
        if (found := self.intervals_equal(p, g)) or found is not None and kinds != {"tuple"}:
            return found
        if kinds & {"tuple", "matrix", "cases", "row"}:
            return self.arrays(p, g)
        return self.same_value(p, g)

    def each(self, ps, gs):
        return len(ps) == len(gs) and all(self.equal(p, g) for p, g in zip(ps, gs))

    def percent(self, p, g):
        """50% is 50% or 50 or 0.5, whichever side says %. But 0.5% is not meant by a gold 0.5."""
        (p, p_signed), (g, g_signed) = ((n.items[0], True) if n.kind == "percent" else (n, False) for n in (p, g))
        hundredth = _number(Fraction(1, 100))
        if p_signed and g_signed:
            return self.equal(p, g)
        if g_signed:
            return self.equal(p, g) or self.equal(p, Node("mul", (g, hundredth)))
        try:
            large = _size(_pair(self.finite(g))) > 1
        except NoValue:
            large = False
        return large and self.equal(p, g) or self.equal(Node("mul", (p, hundredth)), g)

    def unit(self, p, g):
        """A unit may be left out, or added, but not changed. 30° is \\pi/6, if one side is written with \\pi."""
        (p_name, p), (g_name, g) = ((n.value, n.items[0]) if n.kind == "unit" else ("", n) for n in (p, g))
        if {p_name, g_name} == {DEGREE + "^1", "rad^1"}:
            return self.equal(*(_radians(n) if name != "rad^1" else n for n, name in ((p, p_name), (g, g_name))))
        p, g = _without(p, g_name), _without(g, p_name)
        if {p_name, g_name} == {DEGREE + "^1", ""} and _has(p, "symbol", (r"\pi",)) != _has(g, "symbol", (r"\pi",)):
            p, g = (_radians(n) if name else n for n, name in ((p, p_name), (g, g_name)))
        return (p_name == g_name or not p_name or not g_name) and self.equal(p, g)

    def modulo(self, p, g):
        r"""1 \pmod 3 is 4 \pmod 3; and 1, where the other side leaves it at that."""
        if g.kind != "modulo":
            return p.items[0] == _residues(*p.items) and self.equal(p.items[0], g)  # 2 \pmod 5, but no 7 \pmod 5
        if p.kind != "modulo":
            return self.equal(p, g.items[0])
        (p, m), (g, n) = p.items, g.items
        return self.equal(m, n) and self.equal(_residues(p, m), _residues(g, m))

    def builders(self, p, g):
        r"""\{x \mid x=3k, k \in Z\} is its condition, if that has the same letter."""
        if (found := self.intervals_equal(p, g)) is not None:
            return found
        (p_name, p), (g_name, g) = ((n.value, n.items[0]) if n.kind == "builder" else ("", n) for n in (p, g))
        names = {p_name, g_name} - {""}
        return len(names) == 1 and names <= self.letters(p) & self.letters(g) and self.equal(p, g)

    def bases(self, p, g):
        """For a gold in a base, its digits alone will do; base 10 is no base."""
        if g.kind == "base":
            return p.kind == "number" and str(p.value[0]) == g.value[0]
        return p.value[1] == 10 and self.equal(_number(int(p.value[0] or 0)), g)

    def times(self, p, g):
        """3:30 pm; and 3:30, which was parsed as a ratio."""

        (*p, p_half), (*g, g_half) = ((n.value if n.kind == "time" else _clock(n) or ("", "", "")) for n in (p, g))
        return p == g and (p_half == g_half or not p_half or not g_half)

    def ratios(self, p, g):
        """a:b:c up to a factor; 1:2 is 1/2, too."""
        if p.kind == g.kind:
            if _clock(p) and _clock(g) or self.zero(p.items + g.items):
                return self.each(p.items, g.items)
            (a, *rest_p), (b, *rest_g) = p.items, g.items
            products = [(Node("mul", (a, y)), Node("mul", (x, b))) for x, y in zip(rest_p, rest_g)]
            return len(rest_p) == len(rest_g) and all(self.same_value(x, y) for x, y in products)
        if len((p if p.kind == "ratio" else g).items) > 2:
            return False
        return self.equal(*(_over(*n.items) if n.kind == "ratio" else n for n in (p, g)))

    def zero(self, nodes):
        """Is one of them 0?"""
        return any(not self.letters(n) and self.agree(n, _number(0), None) for n in nodes)

    def several(self, node):
        r"""The answers in a list, a set, an expression with \pm, x = y = 2 or |x| = 5; () for a single one."""
        if node.kind in ("list", "set"):
            return tuple(one for item in node.items for one in self.several(item) or (item,))
        if node.kind == "relation" and set(node.value) == {"="}:
            *names, value = node.items
            if 1 < len(names) == len({n.value for n in names if n.kind == "symbol"}):  # x = y = 2
                return tuple(Node("relation", (name, value), ("=",)) for name in names)
            if _is_size(names[0]) and not self.letters(value):  # |x| = 5
                return tuple(Node("relation", (names[0].items[0], v), ("=",)) for v in (value, Node("neg", (value,))))
        return (_choose(node, 1), _choose(node, -1)) if _has(node, "either") else ()

    def match(self, p, g, ps, gs):
        """Each answer has its partner: in order if one side is a tuple, else in any."""
        if "tuple" in (p.kind, g.kind) and len(ps) != len(gs):
            ordered, other = (p, g) if p.kind == "tuple" else (g, p)
            if other.kind == "set" and len(other.items) == 1:  # \{(1,2)\}
                return self.equal(*(n.items[0] if n is other else n for n in (p, g)))
            if other.kind == "list" and (named := _by_name(other.items)):  # y=2, x=1 is (1,2)
                p, g = (n._replace(items=named) if n is other else n for n in (p, g))
            plain = ordered.value == "()" or ordered.value == "[]" and len(ordered.items) > 2  # and no interval
            return other.kind == "list" and plain and self.each(p.items, g.items)
        if p.kind == "list" and gs == (g,) and len(set(ps)) == len(ps) < 4:  # 3/4 or 0.75, which is the same
            return all(one.kind not in NO_FORM and self.equal(one, g) for one in ps)
        if g.kind == "list" and ps == (p,) and len(set(gs)) == len(gs) < 4:
            return all(one.kind not in NO_FORM and self.equal(p, one) for one in gs)
        if len(ps) != len(gs) or len(ps) > 40:
            return self.each(ps, gs)
        if (by_p := _by_name(ps)) and all(g.kind != "relation" for g in gs):  # x=1, y=2 for 1, 2
            return self.each(ps, gs) or self.each(by_p, gs)
        if (by_g := _by_name(gs)) and all(p.kind != "relation" for p in ps):
            return self.each(ps, gs) or self.each(ps, by_g)
        rest = list(gs)
        for one in ps:
            partner = next((i for i, other in enumerate(rest) if self.equal(one, other)), None)
            if partner is None:
                return False
            del rest[partner]
        return True

    def arrays(self, p, g):
        """Tuples and matrices, item by item; a tuple is also a row or a column, and a tuple of tuples a matrix."""
        if p.kind == g.kind == "cases":
            return self.match(p, g, p.items, g.items)
        if p.kind == g.kind:
            return p.value == g.value and self.each(p.items, g.items)
        if {p.kind, g.kind} != {"tuple", "matrix"}:
            return False
        rows = (p if p.kind == "matrix" else g).items
        if len(rows) == 1:
            flat = rows[0].items
        elif all(len(row.items) == 1 for row in rows):
            flat = tuple(row.items[0] for row in rows)
        else:
            flat = tuple(Node("tuple", row.items, "()") for row in rows)
        nested = tuple(
            n._replace(value="()") if n.kind == "tuple" else n for n in (p if p.kind == "tuple" else g).items
        )
        return self.each(nested, flat) if p.kind == "tuple" else self.each(flat, nested)

    # Relations: x = 5 is 5 under a name, x > 3 an interval; other equations are equal up to a factor.

    def relations(self, p, g):
        named_p, named_g = self.assigned(p, self.is_quantity), self.assigned(g, _is_name)
        if not named_p or not named_g:
            return False
        (p_name, p_value), (g_name, g_value) = named_p, named_g
        if (p_value is not p or g_value is not g) and _names_agree(p_name, g_name) and self.equal(p_value, g_value):
            return True
        if (found := self.intervals_equal(p, g)) is not None:
            return found
        if {p.kind, g.kind} == {"relation", "tuple"} and _bounds(p if p.kind == "relation" else g)[1]:
            return self.arrays(*(n if n.kind == "tuple" else _bounds(n)[1] for n in (p, g)))  # a < x < b for (a, b)
        ps, gs = self.several(p), self.several(g)
        if ps or gs:
            p, g = Node("list", ps) if ps else p, Node("list", gs) if gs else g
            return self.match(p, g, ps or (p,), gs or (g,))
        if p.kind != g.kind or len(p.items) != len(g.items):
            return False
        return all(any(self.same_atom(a, b) for b in _atoms(g)) for a in _atoms(p))

    def assigned(self, node, is_name):
        """(name, what is said to have it); ("", node) if nothing is named; None for a contradiction or an x = x."""
        if node.kind != "relation" or not set(node.value) <= {"=", r"\approx"} and node.value != (r"\in",):
            return "", node
        parts = node.items
        if len(parts) == 2 and is_name(parts[-1]) and not is_name(parts[0]):  # 5 = x
            parts = parts[::-1]
        named = is_name(parts[0])
        values = parts[1:] if named else parts
        known = [v for v in values if not self.letters(v)]
        if parts[0] == parts[-1] and len(known) < len(parts):
            return None
        for other in known[1:]:  # 2 + 3 = 5, not 5 = 6; \frac13 \approx 0.33
            rounding = r"\approx" in node.value or not _worth(other)
            if not self.same_value(known[0], other) or not rounding and not self.same_value(other, known[0]):
                return None
        if not named and len(known) < len(values):
            return "", node
        return _name(parts[0]) if named else "", known[0] if known else values[-1]

    def is_quantity(self, node):
        """A name, or what a question may ask for: a^2+b^2, a/b, AB:BC. But as a gold, x+y=5 is a line, and no 5."""

        def made_of_letters(n):
            if n.kind == "power":
                return made_of_letters(n.items[0]) and not self.letters(n.items[1])
            items = [item for item in n.items if n.kind != "mul" or item.kind != "number"]  # 2a+b, 1/a
            return _is_name(n) or n.kind in QUANTITIES and all(map(made_of_letters, items))

        return _is_name(node) or made_of_letters(node) and len(self.letters(node)) > 1

    def same_atom(self, a, b):
        """f = 0 and g = 0, or f > 0 and g > 0: equal if f / g is constant (and positive)."""
        (f,), (g,), ratio, agreed = a.items, b.items, None, 0
        if a.value != b.value or not self.letters(f) or self.letters(f) != self.letters(g):
            return False
        steps = self.jumps(f) or self.jumps(g)
        for point in range(STEP_POINTS if steps else POINTS):
            try:
                quotient = self.product([self.finite(f, point), _inverse(self.finite(g, point))])
            except (NoValue, ArithmeticError):
                continue
            if not _size(_pair(quotient)) or ratio is not None and not _close(ratio, quotient):
                return False
            ratio, agreed = quotient, agreed + 1
            if agreed == AGREE and not steps:
                break
        return agreed >= AGREE and (a.value in ("=", r"\ne") or _pair(ratio)[0] > 0)

    # Sets of real numbers, as intervals that are sorted and do not touch.

    def intervals_equal(self, p, g):
        """None if one of them is no such set."""
        p, g = self.intervals(p), self.intervals(g)
        if not p or not g:
            return None
        (p_name, p), (g_name, g) = p, g
        return (
            (not p_name or not g_name or p_name == g_name)
            and len(p) == len(g)
            and all(a[2:] == b[2:] and _same_end(a[0], b[0]) and _same_end(a[1], b[1]) for a, b in zip(p, g))
        )

    def intervals(self, node):
        """(name of the letter or "", intervals), or None."""
        name, found = "", None
        if node.kind == "reals":
            found = [LINE]
        elif node.kind == "tuple" and len(node.items) == 2:
            found = self.interval(*node.items, node.value[0] == "[", node.value[1] == "]")
        elif node.kind == "set":
            ends = [self.end(item) for item in node.items]
            found = [(x, x, True, True) for x in ends] if None not in ends else None
        elif node.kind == "union":
            found = self.unite(node.items)
        elif node.kind == "builder":
            name, found = self.intervals(node.items[0]) or ("", None)
            found, name = found if name in ("", node.value) else None, ""
        elif node.kind == "relation" and node.value == (r"\ne",) and _has(node, "either"):
            return self.intervals(Node("list", self.several(node)))
        elif node.kind == "relation":
            name, found = self.solution(node)
        elif node.kind == "list":
            first = node.items[0]
            if first.kind == "relation" and first.value == (r"\ne",):  # x \ne 1, 2
                rest = (
                    n if n.kind == "relation" else first._replace(items=(first.items[0], n)) for n in node.items[1:]
                )
                node = node._replace(items=(first, *rest))
            solved = [self.solution(item) if item.kind == "relation" else ("", None) for item in node.items]
            name = solved[0][0]
            if all(other == name and part for other, part in solved):
                found = solved[0][1]
                for _, part in solved[1:]:
                    found = _meet(found, part)
                # x > 1, x < 3: both hold. x < 1, x > 3: they cannot, so one of them does
                found = found or [piece for _, part in solved for piece in part]
        return (name, _merge(found)) if found else None

    def unite(self, items):
        found = []
        for item in items:
            _, parts = self.intervals(item.items[0] if item.kind == "without" else item) or ("", None)
            if not parts or item.kind == "without" and any(low != high for low, high, *_ in parts):
                return None
            if item.kind == "without":
                for x, *_ in parts:
                    found = [piece for part in found for piece in _cut(part, x)]
            else:
                found += parts
        return found

    def end(self, node):
        """A real number, perhaps infinite, as Decimal; None for what is none."""
        try:
            found = self.value(node)
        except NoValue:
            return None
        if isinstance(found, float):
            return Decimal(found)
        return _pair(found)[0] if abs(_pair(found)[1]) < CLOSE else None

    def interval(self, low, high, low_in, high_in):
        low, high = self.end(low), self.end(high)
        return [(low, high, low_in, high_in)] if low is not None and high is not None and low < high else None

    def solution(self, node):
        r"""(x, intervals) of a < x <= b, x > a, |x| < a, x = a, x != a, x \in S; ("", None) of another relation."""
        parts, signs = node.items, node.value
        if len(parts) == 2 and _is_size(parts[0]) and set(signs) <= INEQUALITIES:
            name, bound, own = parts[0].items[0].value, self.end(parts[1]), signs[0] in (r"\le", r"\ge")
            if bound is None or bound <= 0:
                return "", None
            inside = (-bound, bound, own, own)
            outside = [(-INFINITE, -bound, False, own), (bound, INFINITE, own, False)]
            return name, [inside] if signs[0] in ("<", r"\le") else outside
        at = [i for i, part in enumerate(parts) if part.kind == "symbol" and self.letters(part)]
        if signs == (r"\in",) and at[:1] == [0]:
            return parts[0].value, (self.intervals(parts[1]) or ("", None))[1]
        if len(at) == 1 and signs in (("=",), (r"\ne",)):
            bound = self.end(parts[1 - at[0]])
            found = (
                [(bound, bound, True, True)] if signs == ("=",) else _cut(LINE, bound) if bound is not None else None
            )
            return parts[at[0]].value, found if bound is not None else None
        name, bounds = _bounds(node)
        return name, self.interval(*bounds.items, bounds.value[0] == "[", bounds.value[1] == "]") if bounds else None


def _bounds(node):
    """(x, the interval as a tuple) of a < x <= b or x > a; ("", None) of another relation."""
    parts, signs = node.items, node.value
    at = 1 if len(parts) == 3 else 0 if parts[0].kind == "symbol" else 1
    if len(parts) > 3 or not set(signs) <= INEQUALITIES or not _is_name(parts[at]):
        return "", None
    low, high, low_in, high_in = Node("neg", (Node("infinity"),)), Node("infinity"), "(", ")"
    for i, sign in enumerate(signs):
        bound, left = (parts[0], True) if at > 0 and i == 0 else (parts[-1], False)
        if (sign in ("<", r"\le")) == left:
            low, low_in = bound, "[" if sign in (r"\le", r"\ge") else "("
        else:
            high, high_in = bound, "]" if sign in (r"\le", r"\ge") else ")"
    return _name(parts[at]), Node("tuple", (low, high), low_in + high_in)


def _clock(node):
    """(hour, minutes, "") of 3:30, which was parsed as a ratio; () of any other."""
    numbers = [int(n.value[0]) for n in node.items if _is_integer(n)] if node.kind == "ratio" else []
    minutes = len(numbers) == len(node.items) == 2 and numbers[0] < 25 and (not numbers[1] or 10 <= numbers[1] <= 60)
    return (*numbers, "") if minutes else ()


def _without(node, unit):
    """5 of the product 5N, if the other side is so many N."""
    last = node.items[-1] if node.kind == "mul" else node
    return _mul(node.items[:-1]) if last is not node and last.kind == "symbol" and last.value + "^1" == unit else node


def _is_size(node):
    """|x|"""
    return node.kind == "call" and node.value == "abs" and node.items[0].kind == "symbol"


def _residues(node, modulus):
    """The node with its integers reduced, if the modulus is one: 4 and -2 become 1 modulo 3."""
    if node.kind == "neg" and _is_integer(node.items[0]):
        node = _number(-node.items[0].value[0])
    if _is_integer(node) and _is_integer(modulus) and modulus.value[0]:
        return _number(node.value[0] % modulus.value[0])
    return node._replace(items=tuple(_residues(item, modulus) for item in node.items)) if node.kind in (
        "list", "relation") else node  # fmt: skip


def _infinity(node):
    if node.kind == "neg":
        return -_infinity(node.items[0])
    return math.inf if node.kind == "infinity" else 0.0


def _worth(node):
    r"""What the last digit of a decimal is worth: 1/100 for 0.33, 10^{-20} for 1.6 \times 10^{-19}; 0 if it is exact,
    as a decimal of one digit is taken to be: that 1/7 rounds to 0.1 says little."""
    if node.kind == "number":
        value, worth = node.value
        return worth if value >= 10 * worth else 0
    if node.kind == "neg":
        return _worth(node.items[0])
    if node.kind == "mul" and len(node.items) == 2:
        first, second = node.items
        if second.kind == "number":
            return _worth(first) * second.value[0]
        if second.kind == "power" and second.items[0] == _number(10):
            n = second.items[1]
            n, minus = (n.items[0], True) if n.kind == "neg" else (n, False)
            if _is_integer(n) and n.value[0] < 400:
                return _worth(first) * Fraction(10) ** (-int(n.value[0]) if minus else int(n.value[0]))
    return 0


def _nodes(node):
    """The node and all below it."""
    found = [node]
    for n in found:  # which grows meanwhile
        found += n.items
    return found


def _has(node, kind, values=None):
    return any(n.kind == kind and (values is None or n.value in values) for n in _nodes(node))


def _choose(node, sign):
    r"""The expression with every \pm as + (sign 1) or as - (sign -1)."""
    if node.kind == "either":
        inner = _choose(node.items[0], sign)
        return inner if node.value == sign else Node("neg", (inner,))
    return node._replace(items=tuple(_choose(item, sign) for item in node.items))


def _is_name(node):
    r"""x, f(x), AB, P(A), \sin A: letters and no number."""
    if node.kind == "symbol":
        return node.value != r"\pi"
    if node.kind == "power" and _is_integer(node.items[1]):  # \\sin^2 x
        node = node.items[0]
    if node.kind == "call":  # \\sin 2x
        return any(map(_is_name, _nodes(node)[1:]))
    return node.kind in ("mul", "inverse", "ratio") and all(map(_is_name, node.items))


def _name(node):
    if node.kind == "symbol":
        return node.value
    return f"{node.kind} {node.value}[" + ",".join(map(_name, node.items)) + "]"  # of what is no name: equal to itself


def _by_name(items):
    """x=.., y=.. in the order of their letters; () if a letter comes twice, as in x_1=.., x_2=.., or there is none."""
    named = [n for n in items if n.kind == "relation" and n.value == ("=",) and n.items[0].kind == "symbol"]
    names = [re.match(r"\\?([A-Za-z]*)", n.items[0].value)[1] for n in named]
    return tuple(n for _, n in sorted(zip(names, items))) if 1 < len(names) == len(items) == len(set(names)) else ()


def _names_agree(a, b):
    """A name and none do, f(x) and f, y and f(x)."""
    short, long = sorted((a, b), key=len)
    return not short or long == short or long.startswith((short + "(", short + "_")) or short == "y" and "(" in long


def _atoms(node):
    """A chain a < b = c as relations to zero: f = 0, f > 0, f >= 0 or f != 0."""
    atoms = []
    for left, sign, right in zip(node.items, node.value, node.items[1:]):
        if sign in ("<", r"\le"):
            left, right, sign = right, left, {"<": ">", r"\le": r"\ge"}[sign]
        atoms.append(Node("atom", (Node("add", (left, Node("neg", (right,)))),), sign))
    return atoms


def _same_end(x, y):
    return x == y or x.is_finite() and y.is_finite() and _close((x, 0), (y, 0))


def _cut(part, x):
    low, high, low_in, high_in = part
    if low == high:
        return [] if _same_end(low, x) else [part]
    pieces = [(low, x, low_in, False), (x, high, False, high_in)] if low <= x <= high else [part]
    return [piece for piece in pieces if piece[0] < piece[1]]


def _meet(parts, others):
    both = []
    for a in parts:
        for b in others:
            low, low_out = max((a[0], not a[2]), (b[0], not b[2]))
            high, high_in = min((a[1], a[3]), (b[1], b[3]))
            both += [(low, high, not low_out, high_in)] if low < high else []
    return both


def _merge(parts):
    merged = []
    for low, high, low_in, high_in in sorted(parts, key=lambda part: (part[0], not part[2])):
        last = merged[-1] if merged else None
        if not last or low > last[1] or low == last[1] and not (low_in or last[3]):
            merged.append((low, high, low_in, high_in))
        elif high > last[1] or high == last[1] and high_in:
            merged[-1] = (last[0], high, last[2], high_in)
    return merged


def _words(text):
    """Words of each item, in any order of the items; without case and articles."""
    items = re.split(r"[,;，；]|\band\b", text.lower())
    words = ([w for w in re.findall(r"\w+|[^\w\s]", item) if w not in ("a", "an", "the", ".")] for item in items)
    return sorted(filter(None, words))


# Choices: (B), B., b, option B, "B: 7"; ABD, "A, B and D", A、B、D. They are told by their looks, before any parsing.

CHOICE_WORDS = re.compile(r"(?:correct |the )*(?:options?|choices?|answers?)(?: is| are)?[\s:]|选项?|故选", re.I)
BETWEEN = re.compile(r"[\s(),、，;；.&:*]|\band\b|和")
WITH_TEXT = re.compile(r"[{\s]*\(?\s*([A-J])\s*(?:\)\s*[.:、]?|[.:、])[}\s]*([^\s},;+*/=^:?].*)", re.S)
INTEGER = re.compile(r"-?[0-9]{1,1000}")
EQUATED = re.compile(r"(?<![A-Za-z])[A-J]\s*=\s*[A-J](?![A-Za-z])")
ANOTHER = re.compile(
    r"(?<![A-Za-z\\])\(?[A-J]\s*[.:)、]|(?:\b(?:or|and)\b|[或和])\s*\(?[A-J](?![A-Za-z])|\A\s*(?:or\b|and\b|或|和)"
)
LETTER = re.compile(r"[A-J]|(?<![A-Za-z])[a-j](?![A-Za-z])")


def choice(text):
    """(set of letters, text that comes with a single letter) of an answer that is a choice, or None."""
    text = _latex(text)
    if not LETTER.search(text):
        return None
    letters = BETWEEN.sub("", CHOICE_WORDS.sub("", _plain(text)))
    letters = letters.upper() if len(letters) == 1 else letters
    if letters and set(letters) <= set("ABCDEFGHIJ") and len(set(letters)) == len(letters):
        return set(letters), ""
    found = WITH_TEXT.fullmatch(CHOICE_WORDS.sub("", STYLE.sub(" ", text).replace("$", " ").replace("**", "")))
    if not found or ANOTHER.search(found[2]):
        return None
    rest = found[2].rstrip()
    return {found[1]}, rest[:-1] if rest.count("}") > rest.count("{") else rest  # the brace of \text{A. 5}


def _undressed(text):
    """Without white space and a pair of $ or of quotes, or a box, around it."""
    text = text.strip()
    while 2 < len(text) <= LIMIT:
        if text[0] in "$\"'`" and text.find(text[0], 1) == len(text) - 1 and text[-2] != "\\":
            text = text[1:-1].strip()
        elif text[:2] == text[-2:] == "$$" and text.count("$") == 4:
            text = text[2:-2].strip()
        elif text.startswith(r"\boxed") and (boxes := _boxes(text)) and boxes[0][:2] == (0, len(text)):
            text = boxes[0][2]
        else:
            break
    return text


def _condition(match):
    r"""k \in Z in one spelling, so that two sides that both say it can be compared."""
    letter, domain, part = (re.sub(r"[\s{}]", "", group or "") for group in match.groups())
    return rf", {letter} \in {domain}{part.lstrip('^_')}"


def is_equiv(prediction, gold):
    r"""Is the predicted answer equal to the gold one? See the table above.

    >>> is_equiv(r"x \in (3, \infty)", "x > 3"), is_equiv("12345", "12346"), is_equiv("B: 7", "(B)")
    (True, False, True)
    """
    if not isinstance(prediction, str) or not isinstance(gold, str):
        return False
    prediction, gold = _undressed(prediction), _undressed(gold)
    if prediction == gold or not prediction or not gold:
        return prediction == gold != ""
    if max(len(prediction), len(gold)) > LIMIT:
        return False
    if INTEGER.fullmatch(prediction) and INTEGER.fullmatch(gold):  # half of all pairs
        return int(prediction) == int(gold)
    p, g = choice(prediction), choice(gold)
    if p and g:
        return p[0] == g[0] and (not p[1] or not g[1] or is_equiv(p[1], g[1]))
    if p and p[1] and is_equiv(p[1], gold) or g and g[1] and is_equiv(prediction, g[1]):
        return True
    if p and INTEGER.fullmatch(gold) or g and INTEGER.fullmatch(prediction):  # C is no 25
        return False
    if g and not p and EQUATED.search(prediction):  # A=B is no choice
        return False
    conditions = [CONDITION.search(side) for side in (prediction, gold)]
    if any(conditions):  # k \in Z may be left out, but not changed
        said = None not in conditions
        prediction, gold = (CONDITION.sub(lambda m: _condition(m) if said else "", side) for side in (prediction, gold))
    try:
        with localcontext(DIGITS):
            pairs = [(a, b) for b in readings(gold) for a in readings(prediction)]
            bases = [None, 10] if "log" in prediction + gold else [None]
            return any(grader.equal(a, b) for grader in map(Grader, bases) for a, b in pairs)
    except OutOfWork:
        return False


def verify(response, gold, last_number=False):
    """Is the answer that this response gives the gold one? last_number as for extract_answer."""
    answer = extract_answer(response, last_number)
    return answer is not None and is_equiv(answer, gold)


def understood(gold):
    r"""Is this gold more than text to compare letter by letter? Words are; an unbalanced or half-written one is not.

    >>> understood(r"\frac{1}{2}"), understood("east"), understood(r"\frac{1}{")
    (True, True, False)
    """
    if not isinstance(gold, str) or not gold.strip() or len(gold) > LIMIT:
        return False
    return bool(choice(gold)) or any(node.kind != "text" or _is_words(node.value) for node in readings(gold))
