r"""Text -> tree: an answer in LaTeX, in Unicode or in plain words becomes a Node, whose items are Nodes.

    read("1/2")  ->  [Node("mul", (number(1), Node("inverse", (number(2),))))]

    normalise   Unicode becomes LaTeX; what is spelled in more than one way gets one spelling (REWRITES)
    tokenise    MACROS says what each \name is, WORDS what each word is
    parse       a Pratt parser: BINDING says how tightly a sign holds what stands beside it, BRACKETS what brackets make

    kind of Node                items                value
    --------------------------  -------------------  ---------------------------------------------------------------
    number                                           (value, worth of its last digit; 0 if it is exact)
    symbol, text, infinity                           the name; the words
    add, mul, neg, inverse      operands             sums and products are flat: a - b is add(a, neg(b))
    power, factorial            operands             of a factorial: 1 for n!, 2 for n!!
    call                        argument, (base)     name of the function; of a product f(x) it is "applied"
    either                      operand              1 for \pm, -1 for \mp
    unit, percent, where        what is labelled     the unit, the modulus or the base of digits; a last k \in Z
    list, set, tuple, rows      members              of a list: "or" or None; of a tuple, which a matrix is one of: (]
    union, relation             operands             signs between the operands

Of text with two readings ("1,234") both are returned. Words, and a formula that this grammar does not know, are `text`.
"""

import re
import unicodedata
from collections import namedtuple
from fractions import Fraction
from functools import lru_cache

LIMIT = 2000  # characters of an answer that is parsed
DEPTH = 60  # brackets, signs, fractions, roots, functions and exponents within one another


class Unreadable(Exception):
    """Not an answer that this grammar knows."""


Node = namedtuple("Node", "kind items value", defaults=((), None))
Token = namedtuple("Token", "kind text")  # kinds: number, symbol, function, unit, word, multiple, operator, end


def number(value, worth=0):
    return Node("number", (), (value, worth))


def over(above, below):
    return Node("mul", (above, Node("inverse", (below,))))


def minus(a, b):
    return Node("add", (a, Node("neg", (b,))))


def binomial(n, k):
    above, *below = [Node("factorial", (one,), 1) for one in (n, k, minus(n, k))]
    return over(above, Node("mul", tuple(below)))


INFINITY = Node("infinity")
FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}

# Tables. The first word of a line or entry is what all others in it mean.
def table(entries):
    return {spelling: entry.split()[0] for entry in entries.split(";") for spelling in entry.split()}


GREEK = """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho varsigma sigma tau
    upsilon phi chi psi omega""".split()
FUNCTIONS = table("sin; cos; tan tg; cot ctg; sec; csc cosec; arcsin asin; arccos acos; arctan atan arctg; arccot "
    "acot; arcsec asec; arccsc acsc; sinh; cosh; tanh; coth; sech; csch; ln; log; lg; exp; abs")  # fmt: skip
# {name: role}: what is skipped says how a formula looks; of the others, the parser knows what they take.
MACROS = rf"""skip left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr middle displaystyle textstyle limits
    boxed fbox mathbf bf it small large Large LARGE huge tt mathtt boldsymbol bm mathit mathcal mathsf ensuremath quad
    qquad hline triangle angle hat underline checkmark blacksquare square Box therefore , ; ! : ( ) [ ] # @ & rm
    mathop text mathrm mbox textrm textbf textit texttt textsf emph textnormal hbox operatorname
    ¦ symbol {" ".join(GREEK)} {" ".join(GREEK).title()} ell varphi varepsilon vartheta hbar imath vec
    ¦ function {" ".join(FUNCTIONS)} ¦ frac frac dfrac tfrac cfrac ¦ binom binom dbinom tbinom ¦ sqrt sqrt
    ¦ infinity infty ¦ reals R ¦ set emptyset varnothing O ¦ begin begin"""
MACROS = {name: role for role, *names in map(str.split, MACROS.split("¦")) for name in names}
MACROS[" "] = "skip"  # an escaped space
SKIPPED = [re.escape(name) for name, role in MACROS.items() if role == "skip"]
STYLE = re.compile(r"\\(?:%s)(?![A-Za-z])" % "|".join(SKIPPED))
FORMAL = re.compile(r"[\\^_]")  # in a text that is not understood: mathematics, and no words
# Letters with at least two side by side, and between them no sign of mathematics; or (1)(3), as ①③ is written.
WORDLIKE = r"(?:[^\W\d_]|[ ',.;:&/-])*"
ONLY_WORDS = re.compile(rf"(?:\([0-9]+\)[,;\s]*){{2,}}|{WORDLIKE}[^\W\d_]{{2}}{WORDLIKE}")
SIGNS = table(r"* cdot times ast bullet; / div; <= le leq leqslant leqq; >= ge geq geqslant geqq; != ne neq; = equiv; "
    r"< lt; > gt; \approx simeq doteq; \cup bigcup; \cap bigcap; \setminus backslash smallsetminus; \land wedge; "
    r"\lor vee; ^ **; | lvert rvert vert mid; \{ { lbrace; \} } rbrace; [ lbrack; ] rbrack; : colon; % %; _ _; = ==; "
    r"\ldots dots cdots dotsc; \frac dfrac tfrac cfrac; \binom dbinom tbinom; \bar overline; "
    r"\vec overrightarrow")  # fmt: skip
BINDING = r"""\over \choose ¦ \\ ¦ & ¦ , ; or and \land \lor ¦ = < > <= >= != \in \approx ¦ \cup ¦ : \pmod ¦ + - \pm \mp
    ¦ * / % ¦ ^ ! !! \degree"""
INFIX, ROWS, CELLS, LIST, RELATION, UNION, RATIO, SUM, PRODUCT, POWER = range(1, 11)  # side by side binds as * does
BINDING = {sign: power for power, level in enumerate(BINDING.split("¦"), 1) for sign in level.split()}
BRACKETS = r"""( ) (); [ ] []; ( ] (]; [ ) [); \langle \rangle (); \{ \} set; { } set; | | abs; \lfloor \rfloor floor;
    \lceil \rceil ceil"""
# Opening, closing, what they make of several items. ]a, b[ would be "; ] [ ()"; ]a, b] would break [[1, 2], [3, 4]].
BRACKETS = {(opening, closing): made for opening, closing, made in map(str.split, BRACKETS.split(";"))}
OPENING = {opening for opening, _ in BRACKETS}  # a sign that is here may start a factor
CELL_ENDS = {"&", "\\\\", r"\end"}  # a list stops before these

DEGREE = r"\degree"
MULTIPLES = table("100 hundred 百; 1000 thousand 千; 10000 万; 1000000 million; 100000000 亿; 1000000000 billion")
NUMERALS = table("0 zero; 1 one; 2 two; 3 three; 4 four; 5 five; 6 six; 7 seven; 8 eight; 9 nine; 10 ten; 11 eleven;"
    "12 twelve")  # fmt: skip
LETTERS = table(r"\pi pi; \theta theta; \alpha alpha; \beta beta")  # names without a backslash
NAMES = table(r"\infty infinity inf oo; \sqrt sqrt; : to; % percent pct; + plus; - minus negative; \degree degree "
    r"degrees deg 度; and 和 及 且; or 或 或者")  # fmt: skip
# One name for each spelling of a unit. Any longer word after a number counts as a unit, too, but for those of NO_UNIT.
UNITS = table("mm millimeter millimetre 毫米; cm centimeter centimetre 厘米; dm; m meter metre 米; km kilometer "
    "kilometre 千米 公里; nm; in inch inches 英寸; ft foot feet; yd yard; mi mile; mL ml milliliter; L l liter "
    "litre 升; mg; g gram gm 克; th st nd rd; kg kilogram 千克 公斤; lb lbs pound pounds; oz ounce; s second 秒; day "
    "天 日; week; min minute mins 分钟 分; h hr hrs hour 小时 时; month 个月; year yr yrs 年; mph; N newton; J joule; "
    "kJ; eV; W watt; V volt; A amp; K kelvin; rad radian radians; C; F; T; Hz hertz; Pa; mol mole; ohm; kWh; "
    "cent; dollar usd 美元; yuan 元 rmb yen 块; euro; people 人; man men; 个; pt pts point; per; each; unit; am AM; "
    "pm PM; boy; girl; car; bus; way; egg; toy; pen; box; bag")  # fmt: skip
NO_UNIT = """root not nor than then if unless except but after before over under squared cubed half halves quarter
    quarters third thirds more less least most about above below between from with without maybe probably either
    neither double doubled twice triple tripled whatever where when such that wrong correct right true false else
    otherwise approximately around exactly also possibly perhaps undefined nothing anything none is are incorrect
    factorial inverse reciprocal repeating recurring tens lakh crore score dozen gross couple pair grand fewer
    further mille permille onward onwards upward upwards downward downwards beyond short extra away off up down
    again divided modulo mod choose log base power opposite squares cubes bigger larger smaller greater higher
    lower fraction fold ago later earlier thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty
    thirty forty fifty sixty seventy eighty ninety 不 或 至 到 约 以 大 小 左 多 余 折 成 十 倍 分之"""
STEMS = """four fif six seven eigh nin ten eleven twelf thirteen fourteen fifteen sixteen seventeen eighteen nineteen
    twentie thirtie fortie fiftie sixtie seventie eightie ninetie hundred thousand million billion trillion"""
NO_UNIT = {*NO_UNIT.split()} | {stem + ending for stem in STEMS.split() for ending in ("th", "ths")}  # 5 sixteenths
WORDS = dict(
    unit=UNITS, number=NUMERALS, multiple=MULTIPLES, function=FUNCTIONS, word=dict(zip(NO_UNIT, NO_UNIT)),
    symbol=LETTERS, operator=NAMES)  # fmt: skip
WORDS = {word: Token(kind, name) for kind, names in WORDS.items() for word, name in names.items()}

# Normalise.
SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ₀₁₂₃₄₅₆₇₈₉", "0123456789+-n0123456789")
PAIRS = r"""·cdot ⋅cdot ∙cdot •cdot ∗cdot ×times ÷div ≤le ⩽le ≦le ≥ge ⩾ge ≧ge ≠ne ≈approx ±pm ∓mp ∞infty ∪cup ∩cap ∈in
    ∉notin ⊆subseteq ⊂subset ∧land ∨lor ≡equiv ∅emptyset √sqrt ⟨langle ⟩rangle ℝR ∘circ ⌊lfloor ⌋rfloor ⌈lceil ⌉rceil
    ∥parallel ⊥perp €euro £pounds ¥yen ￥yen ∠angle ∴therefore △triangle →to ¬neg °degree º\degree ∀forall"""
UNICODE = str.maketrans(
    {letter: rf"\{name.title()} " for letter, name in zip("ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡςΣΤΥΦΧΨΩ", GREEK)}
    | {letter: rf"\{name} " for letter, name in zip("αβγδεζηθικλμνξοπρςστυφχψω", GREEK)}  # ς has no capital
    | {c: rf"\frac{{{n}}}{{{d}}}" for c, n, d in zip("½⅓⅔¼¾⅕⅖⅗⅘⅙⅛⅜⅝⅞", "11213123411357", "23344555568888")}
    | {chr(0x2460 + i): f"({i + 1})" for i in range(20)}  # ①
    | dict.fromkeys("−–—‐‑﹣", "-") | dict.fromkeys("\u200b\u200c\u200d\u2060\u2061\ufeff“”", "")
    | {pair[0]: rf"\{pair[1:]} " for pair in PAIRS.split()}
    | dict(zip("、，。∣′’″∶¢ℤℕ", (", ", ", ", ".", "|", "'", "'", "''", ":", " cents", "Z", "N"))))  # fmt: skip
STYLED = r"(?:text|mathrm|mbox|textrm|textbf|textit|texttt|textsf|emph|textnormal|hbox|operatorname)\s*"
TEXTS = re.compile(rf"\\{STYLED}\{{([^{{}}]*)\}}")  # whose letters get a ` each, so that they stay words
ALONE = "(?<![0-9.,^_/A-Za-z}!])"  # not within another number, name or power
INTEGER = r"\{\s*([0-9]+)\s*\}"
AMOUNT = r"(\$?-?[0-9.](?:[0-9.,{}]|\\!)*(?<![.,{}])(?:\s*(?:hundred|[mb]illion|thousand)(?![a-z]))?)(?![0-9^/])\$?"
SPACE = r"(?:\s|\\[ ,;:]|\\q?quad)"  # what LaTeX sets as a space
BAR = r"(?:\\left|\\right)?\s*\|\s*"  # one bar of |x|
GAP = rf"(?:{SPACE}|,|`|\\forall|\b(?:for|where|with|any|all|every|some)\b)"
# Each line is `cue ¦ pattern ¦ replacement`: the pattern is tried only where the cue, a part of all it matches, occurs.
REWRITES = rf""". ¦ \\(?:left|right)\s*\. ¦
{{ ¦ \\(?:color|textcolor|[hv]space\*?|label|tag|phantom)\s*\{{[^{{}}]*\}} ¦ {" "}
circ ¦ \^\s*(?:\\circ(?![a-z])|\{{\s*\\circ\s*\}}) ¦ \\degree{" "}
prime ¦ \^\s*(?:\\prime(?![a-z])|\{{\s*\\prime\s*\}}) ¦ '
degree ¦ ([0-9]+)\s*\\degree\s*([0-9]+)'(?:\s*([0-9]+)'')? ¦ (\1+\2/60+0\3/3600)\\degree{" "}
frac ¦ \\[dt]?frac\s*\{{((?:\s*`[^{{}}]*)+)\}}\s*\{{((?:\s*`[^{{}}]*)+)\}} ¦ {" "}\1/\2
frac ¦ {ALONE}([0-9]+)\s*\\[dtc]?frac\s*(?:{INTEGER}|([0-9]))\s*(?:{INTEGER}|([0-9]+)) ¦ (\1+\\frac{{\2\3}}{{\4\5}})
/ ¦ {ALONE}([0-9]+)\s+([0-9]+)\s?/\s?([0-9]+)(?![0-9.]) ¦ (\1+\2/\3)
math ¦ (?<=[0-9])\s(?=[0-9](?:\s[0-9])*\s*\}}) ¦
math ¦ \\math(?:bb|bf)\s*\{{?\s*R\s*\}}? ¦ \\R{" "}
mathbb ¦ \\mathbb\s*\{{?\s*([ZNQC])\s*\}}? ¦ {" "}\1
10 ¦ (?<=[0-9])\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*\{{?\s*([+-]?[0-9]{{1,3}})(?![0-9])\s*\}}? ¦ E\1{" "}
$ ¦ \\\$\s*{AMOUNT}(?!\s*(?:\\[a-z]|[(%]|[A-Za-z](?![A-Za-z]))) ¦ \1 dollar{" "}
$ ¦ \\\$ ¦
\ ¦ \\(euro|pounds|yen)\s*{AMOUNT} ¦ \2 \1{" "}
sqrt ¦ \\sqrt\[3\]\s*\{{-([0-9]+)\}} ¦ -\\sqrt[3]{{\1}}
_ ¦ (?<![\w.,}}])(\()?([0-9]+)(?(1)\))_\s*(?:\{{\s*`?(\w+)\s*\}}|([0-9]+)) ¦ \2 `radix^{{\3\4}}
0. ¦ (?<![0-9.])0\.\\(?:overline|bar|dot)\s*\{{?([0-9])\}}?(?![0-9.]) ¦ \\frac{{\1}}{{9}}
0. ¦ (?<![0-9.])0\.\\(?:overline|bar)\s*\{{([0-9][0-9])\}}(?![0-9.]) ¦ \\frac{{\1}}{{99}}
0. ¦ (?<![0-9.])(0\.[0-9])\\(?:overline|bar|dot)\s*\{{?([0-9])\}}?(?![0-9.]) ¦ (\1+\2/90)
circled ¦ \\textcircled\s*\{{([0-9]+)\}} ¦ (\1)
  ¦ \A[\s`]*(?:US|USD|EUR|GBP|INR|Rs\.?|RMB|CNY)\s*(?=\\?\$|[0-9]) ¦
n ¦ (?<![A-Za-z\\])(ln|sin|cos|tan)([a-z])(?![A-Za-z]) ¦ \\\1 \2
mod ¦ (?:\(|\\pmod)?\s*(?<![a-z])[`\\]?[bp]?mod{SPACE}*\{{?([0-9A-Za-z]+)[)}}]?$ ¦ \\pmod{{\1}}
sec ¦ (?<=[0-9}}a-z/$])((?:[\s/]|\\ )*)`?secs?(?![A-Za-z]|\s*(?:\\[A-Za-z]|[(x0-9])) ¦ \1`s
U ¦ (?<=[)\]}}])\s*U\s*(?=[(\[\\]) ¦ \\cup
q ¦ (?<=[0-9}}\s])`?(?:sq\.?|square)\s+`?([a-z]+) ¦ {" "}\1^2
begin ¦ \\\{{\s*\\begin\{{(?:array|matrix|aligned)\}}(?:\{{[^{{}}]*\}})? ¦ \\begin{{cases}}
\end ¦ (?:[.;,]|\\\\|\s)*(?=\\end) ¦
cent ¦ `?per\s`?cent(?![a-z]) ¦ %
& ¦ &\s*`(?:if|when|for)\b ¦ &
.. ¦ (?<![a-z])\.\.+ ¦ \\ldots{" "}
C ¦ (?<![A-Za-z\\])C_\{{?(\w+)\}}?\^\{{?(\w+)\}}? ¦ \\binom{{\1}}{{\2}}
m. ¦ (?<![A-Za-z])([ap])\.\s?`?m\.? ¦ \1m
\in ¦ (?:{SPACE}|`)*(?:,|\\forall|\b(?:for|where|with)\b){GAP}*(?=\$?[a-zC]\s*\\in) ¦ ,{" "}
{{ ¦ \\\{{(?:\s|\\left)*([a-z])(?:\s|\\right|\\in\s*\\R)*(?:\||\\mid|:)(?=.*(?<![A-Za-z\\])\1(?![A-Za-z])) ¦ \\{{
s ¦ (?i)\A`?(?:no (?:`?real )?`?solutions?|(?:the )?empty set)\Z ¦ \\emptyset
al ¦ \A(?:all real numbers|all reals)\Z ¦ \\R
\ ¦ \\R\s*(?:\\setminus|\\backslash|-)\s*\\\{{\s*(-?[0-9/]+)\s*\\\}} ¦ (-\\infty,\1)\\cup(\1,\\infty)
n ¦ \A((?:\W|\\displaystyle)*)([a-z])\s*(?:\\neq?|!=)\s*(-?[0-9/]+)(?=\W*\Z) ¦ \1\2 \\in (-\\infty,\3)\\cup(\3,\\infty)
\o ¦ \\overline\s*\{{\s*([A-Z]\s*[A-Z])\s*\}} ¦ \1
v ¦ \\(?:vec|overrightarrow)\s*(?:\{{\s*([A-Za-z])\s*([A-Za-z]?)\s*\}}|([a-z])) ¦ \\vec_{{\1\2\3}}
( ¦ (?<![A-Za-z])([ABD-Z])\s*(?:\\left)?\s*\((?=[^()a-z]*,[^()]*\)\W*\Z) ¦ \1 = (
= ¦ \A\W*([a-z])\s*=\s*([a-z])\s*=\s*([-0-9/.]+)\W*\Z ¦ \1=\3,\2=\3
| ¦ \A{BAR}([a-z]){BAR}\s*(<|\\l\w+)\s*([^<>=|,]+)\Z ¦ -(\3) \2 \1 \2 \3
| ¦ \A{BAR}([a-z]){BAR}\s*(>|\\g\w+)\s*([^<>=|,]+)\Z ¦ \1 \2 \3 or -(\3) \2 \1
( ¦ (?<!\\left)(?<=[\w}})]){SPACE}*\((?=[^()]*(?:[<>]|\\[lg]eq?\b|\\ne|\\in(?![a-z])))([^()]*)\)$ ¦ , \1"""
REWRITES = [line.split(" ¦") for line in REWRITES.split("\n")]
REWRITES = [(cue, re.compile(pattern[1:]), replacement[1:]) for cue, pattern, replacement in REWRITES]


def to_latex(text):
    """Unicode as LaTeX; at most four times as long as an answer may be, since some characters stand for many."""
    if text.isascii():
        return text
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda found: "^{" + found[0].translate(SUPERSCRIPTS) + "}", text)
    text = re.sub("[₀-₉]+", lambda found: "_{" + found[0].translate(SUPERSCRIPTS) + "}", text)
    text = re.sub("(?<=[0-9])，(?=[0-9]{3}(?![0-9]))", ",", text)  # before NFKC makes it a comma of a list
    return unicodedata.normalize("NFKC", text.translate(UNICODE))[: 4 * LIMIT]


def normalise(text):
    text = to_latex(text)
    text = re.sub(r"\{(?:aligned|align\*?|split)\}", "{cases}", text.replace("&", "")) if "{align" in text else text
    text = TEXTS.sub(lambda found: " " + re.sub("[A-Za-z]+", r"`\g<0>", found[1]) + " ", text) if "{" in text else text
    if "\\\\" in text and r"\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z%$])", r"\\", text)  # \\frac
    elif r"\\begin" in text:
        text = text.replace("\\\\", "\\")  # a JSON string that was escaped twice
    for cue, pattern, replacement in REWRITES:
        if cue in text:  # a search for a string is ten times faster than one for a pattern
            text = pattern.sub(replacement, text)
    return text


def plain(text):
    return " ".join(re.sub(r"[{}$~`]|\\[()\[\],;!]", "", STYLE.sub(" ", text)).split()).strip(' .*"`')


# Read.
THOUSANDS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?!,?[0-9])")
SPLIT_DIGITS = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:(?:\{,\}|,?\s?\\[,!;: ]\s?|~|\s)[0-9]{3})+(?![0-9])")
# Other readings: combinations as C(5,2); a letter behind a number and a space as a unit.
OTHERWISE = [(re.compile(pattern), replacement) for pattern, replacement in (
    (r"C\(([0-9]+),\s?([0-9]+)\)", r"\\binom{\1}{\2}"),
    (r"((?:[0-9})]|\\pi)\$?(?:\s|\\[;,: ])+)([mgshLlNJWVAKCFT])(?![A-Za-z0-9_('])(?=\s*(?:$|[\^/$,]|\\cdot))",
     r"\1`\2"))]  # fmt: skip


@lru_cache(64)  # in training, a group of responses has one gold
def read(text):
    """The ways to read an answer, as Nodes: never empty. Kind `text` is for what is not understood, or is words."""
    written = normalise(text.strip())
    words = plain(written)
    found = [Node("text", (), words)] if ONLY_WORDS.fullmatch(words) else []
    if found and set(re.sub(r"\W|and|[0-9]", "", words)) <= set("IVX"):  # II and (1)(3) are no products
        return found
    for way in ways_to_read(written):
        try:
            found.append(Parser(tokenise(way)).expression())
        except Unreadable:  # another way may be readable
            continue
    if not found and FORMAL.search(words):  # sign by sign, with x^2 for x^{2}
        words = re.sub(r"\{ (\S+) \}", r"\1", " ".join(token.text for token in tokenise(written)))
    return found or [Node("text", (), words)]


def ways_to_read(written):
    """The text with its digits joined; and as it stands, where a comma or a letter may mean something else."""
    text = SPLIT_DIGITS.sub(lambda found: re.sub("[^0-9]", "", found[0]), written)
    text = text[:1] + text[1:].replace("{,}", ".").replace("~", " ")  # 3{,}5; a first ~ is `not`
    ways = [text]  # of which the first that is equal decides
    padded = re.search(",0[0-9]", text)  # in no list
    if "," in text and (padded or not re.search(r"[(\[]|\\\{", text)):
        joined = THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)
        ways = [joined] if joined == text or padded else [joined, text.replace(",", ", ")]
    return ways + [pattern.sub(replacement, ways[0]) for pattern, replacement in OTHERWISE if pattern.search(ways[0])]


# Tokenise.
TOKEN = re.compile(
    r"\s*(\\(?:[A-Za-z]+|.)|(?:[0-9]+(?:\.[0-9]+|\.(?=[ /*+^)\\-]))?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3}(?![0-9A-Za-z]))?"
    r"|`?[A-Za-z]+|[\u4e00-\u9fff]+|\*\*|[<>=!]=|!!+|.)", re.S)  # fmt: skip


def tokenise(text):
    """Letters side by side are symbols, unless they are a name, a unit, or a long word."""
    tokens = [token for match in TOKEN.findall(text.strip()) for token in tokens_of(match)]
    while tokens and tokens[-1].text in ("\\\\", "."):  # a stop, or an empty last row
        tokens.pop()
    return tokens


@lru_cache(1024)  # answers are made of few different words
def tokens_of(match):
    if match[0] in "0123456789" or match[0] == "." and len(match) > 1:
        return (Token("number", match),)
    if match.lstrip("`").isalpha():
        return word_tokens(match.lstrip("`"), match[0] == "`")
    name = match.lstrip("\\") or match
    role = MACROS.get(name, "") if name != match else "skip" if match in "$`\\" else ""
    if role == "skip":
        return ()
    kind = role if role in ("function", "symbol") else "operator"
    return (Token(kind, FUNCTIONS.get(name) or (SIGNS.get(name, match) if len(match) > 1 else match)),)


def word_tokens(word, styled):
    low = word.lower() if len(word) > 2 else word
    single = low[:-1] if len(low) > 3 and low.endswith("s") and low not in NO_UNIT else low  # apples are apple
    found = WORDS.get(word) or WORDS.get(low) or WORDS.get(single)
    is_letter = len(word) == 1 and word.isascii() and not styled  # m is a letter, \text{m} is metres
    if found and not (found.kind == "unit" and is_letter):
        return (found,)
    if len(word) > 3 or styled and not is_letter and len(word) > 1 or not word.isascii():
        return (Token("word", single),)
    return tuple(Token("symbol", letter) for letter in word)


# Parse.
END = Token("end", "")
COMMANDS = {"\\" + name for name, role in MACROS.items() if role in ("frac", "binom", "sqrt")}
FACTORS = COMMANDS | OPENING - {r"\{", r"\langle"}  # what begins a factor without a sign before it
RECIPROCALS = {"arccot": "arctan", "arcsec": "arccos", "arccsc": "arcsin"}  # arcsec x is arccos 1/x
ANGULAR = "sin cos tan cot sec csc".split()
FUNCTION_LETTERS = "fghACDEFGPSTV"  # f(x) applies f, but x(x + 1) is a product
PLUS_MINUS = {"+": 0, "-": 0, r"\pm": 1, r"\mp": -1}


class Parser:
    """One reading of a list of tokens, or Unreadable. `kind` and `text` are those of the token that comes next."""

    def __init__(self, tokens):
        self.tokens, self.at, self.depth = [*tokens, END, END], 0, 0  # two ENDs, as one token is read ahead
        self.opening = ""  # the bracket that is open
        self.kind, self.text = self.tokens[0]
        self.accept("=", r"\approx", r"\Rightarrow", ":")  # "= 5" is an answer

    def take(self, *wanted):
        text = self.text
        if self.kind == "end" or wanted and text not in wanted:
            raise Unreadable
        self.at += 1
        self.kind, self.text = self.tokens[self.at]
        return text

    def accept(self, *wanted):
        return self.take() if self.text in wanted else ""

    def nested(self, parse, *arguments):
        self.depth += 1
        if self.depth > DEPTH:  # so that no input exhausts the stack
            raise Unreadable
        node = parse(*arguments)
        self.depth -= 1
        return node

    # Expressions. What comes next binds with a power; a loop takes whatever binds more tightly than the least power.
    def expression(self, least=0):
        node = self.operand(least)
        power = self.binding(node)
        while power > least:
            if power == PRODUCT:
                node = self.product(node)
                if self.binding(node) >= PRODUCT:  # 5 cm 5, 5%!
                    raise Unreadable
            elif power == POWER:
                node = self.raised(node)
            else:
                node = self.chain(node, power)
            power = self.binding(node)
        if not least and not self.depth and self.kind != "end":  # something is left over
            raise Unreadable
        return node

    def binding(self, node):
        power = BINDING.get(self.text)
        if power:
            return power
        closes = (self.opening, self.text) in BRACKETS
        return PRODUCT if not closes and (self.text in FACTORS or self.kind not in ("operator", "end")) else 0

    def operand(self, least):
        if self.text not in PLUS_MINUS:
            return self.primary()
        sign = self.take()
        node = self.nested(self.expression, max(least, SUM))  # -x^2 is -(x^2), and -a + b is (-a) + b
        if PLUS_MINUS[sign]:
            return Node("either", (node,), PLUS_MINUS[sign])
        return labelled("neg", (node,)) if sign == "-" else node

    def chain(self, first, power):
        items, signs = [first], []
        while self.binding(items[-1]) == power:
            sign = self.text
            if power != SUM or sign == "+":  # a minus belongs to what follows
                self.take()
            while power == LIST and self.text in (",", ";", "or", "and"):  # 1, 2, or 3 has a comma before the `or`
                sign = self.take()
            closes = (self.opening, self.text) in BRACKETS or self.text in CELL_ENDS  # a comma may end a list
            if power == LIST and (closes or self.kind == "end"):
                break
            signs.append(sign)
            items.append(self.expression(power))
        return joined(power, tuple(items), tuple(signs))

    def product(self, first):
        """Factors with * or / or nothing between them, and what may follow a number: a unit, %."""
        factors = [first]
        name = first.items[0] if first.kind == "power" else first
        applied = self.text == "(" and name.kind == "symbol" and name.value[0] in FUNCTION_LETTERS  # f(x), f^{-1}(2)
        while self.binding(factors[-1]) == PRODUCT:
            if self.accept("/"):
                factors.append(Node("inverse", (self.expression(PRODUCT),)))
            elif self.text == "%" and factors[0].kind != "percent":
                self.take()
                factors = [Node("percent", (product_of(factors),))]
            elif self.kind in ("unit", "word"):
                return Node("unit", (product_of(factors),), self.unit())
            elif self.kind == "multiple":
                factors.append(number(int(self.take())))
            elif self.kind == "number" and self.tokens[self.at - 1].kind == "number":  # 1 7
                raise Unreadable
            else:
                self.accept("*")
                factors.append(self.expression(PRODUCT))
        product = product_of(factors)
        return product._replace(value="applied") if applied and len(factors) == 2 and product.kind == "mul" else product

    def unit(self):
        """cm, m/s^2, apples per day: everything to the end of the phrase, as one name."""
        names = []
        while self.kind in ("unit", "word") or self.text == DEGREE or names and self.text in {*UNITS, "*", "/"}:
            name = self.take()
            if name in NO_UNIT or name[0] in NO_UNIT or name in names or len(name) > 25:
                raise Unreadable
            exponent = self.raw() if self.accept("^") else ""  # cm^2 is another unit than cm
            names += [] if name == "*" else [{"per": "/"}.get(name, name) + exponent]
        return " ".join(names if "/" in names else sorted(names))  # N m is m N

    def raised(self, node):
        if self.accept("^"):
            return Node("power", (node, self.nested(self.expression, PRODUCT)))
        if self.accept(DEGREE) and node.kind != "unit":
            self.accept("C", "F", "celsiu", "fahrenheit")  # -s is cut off
            return Node("unit", (node,), DEGREE)
        if node.kind in ("factorial", "unit"):  # 5! ! !
            raise Unreadable
        return Node("factorial", (node,), len(self.take("!", "!!")))

    def primary(self):
        if self.kind == "number":
            return self.number()
        if self.kind == "symbol" or self.kind == "unit" and len(self.text) < 4:  # \text{K}; mg
            return self.symbol()
        if self.kind == "function":
            return self.nested(self.call)
        return self.nested(self.group if self.text in OPENING else self.command)

    def command(self):
        name = self.take()
        role = MACROS.get(name[1:])
        if role == "reals":
            return Node("tuple", (Node("neg", (INFINITY,)), INFINITY), "()")
        if role in ("infinity", "set"):
            return Node(role)
        if role == "begin":
            return self.environment()
        if role == "sqrt":
            degree = self.group() if self.text == "[" else number(2)
            inside = self.number() if self.kind == "number" else self.argument()
            return Node("power", (inside, Node("inverse", (degree,))))
        if role not in ("frac", "binom"):
            raise Unreadable
        both = self.argument(), self.argument()
        return over(*both) if role == "frac" else binomial(*both)

    def argument(self):
        r"""What \frac takes: {..}, or one digit, or one symbol. \frac12 is one half."""
        if self.kind == "number" and self.text.isdecimal() and len(self.text) > 1:
            digit, self.text = self.text[0], self.text[1:]  # the rest of the digits stays for what follows
            self.tokens[self.at] = Token("number", self.text)
            return number(int(digit))
        negative = self.accept("-")
        node = self.primary()
        return labelled("neg", (node,)) if negative else node

    def raw(self):
        if not self.accept("{"):
            return self.accept("-") + self.take()
        text = ""
        while self.text != "}":
            text += "{" + self.nested(self.raw) + "}" if self.text == "{" else self.take()
        self.take()
        return text

    def number(self):
        """With its last digit's worth: 2.50 is (5/2, 1/100); an integer, or 2.0, is exact: (2, 0)."""
        text = self.take()
        if text.isdecimal() and len(text) <= 1000:
            return number(int(text))
        digits, _, exponent = text.lower().partition("e")
        if len(digits) > 1000:  # int() of longer text is slow, and refused by Python
            raise Unreadable
        decimals = digits.partition(".")[2]
        last = Fraction(10) ** (int(exponent or 0) - len(decimals))
        value = int(digits.replace(".", "")) * last
        return number(int(value) if value.denominator == 1 else value, last if decimals.strip("0") else 0)

    def symbol(self):
        name = self.take()
        while self.text in ("_", "'"):
            name += self.accept("'") or self.take() + self.raw().replace("\\", "")
        return Node("symbol", (), "i" if name == r"\imath" else name)

    def call(self):
        r"""\sin 2x, \sin^2 x, \log_2 3, ln(x). Without brackets, the argument goes to the next sign or function."""
        name, base, exponent = self.take(), (), None
        while self.text in ("_", "^"):
            if self.take() == "_":
                base = (self.argument(),)
            else:
                exponent = self.argument()
        if self.text in OPENING and self.text != "|":
            inside = self.group()
        else:
            factors = [self.expression(PRODUCT)]  # \sin 2x
            while self.kind in ("number", "symbol") or self.text in COMMANDS:
                factors.append(self.expression(PRODUCT))
            inside = product_of(factors)
        inside = in_radians(inside) if name in ANGULAR else inside  # \sin 30° is \sin(\pi/6)
        if exponent == Node("neg", (number(1),)):
            name, exponent = "arc" + name, None  # \sin^{-1}
        if name in RECIPROCALS:
            name, inside = RECIPROCALS[name], Node("inverse", (inside,))  # of which there is no own function below
        if name == "lg":
            name, base = "log", (number(10),)
        node = Node("call", (inside, *base), name)
        if name == "exp":
            node = Node("power", (Node("symbol", (), "e"), inside))
        return Node("power", (node, exponent)) if exponent else node

    def group(self):
        outer, opening = self.opening, self.take()
        self.opening = opening
        empty = (opening, self.text) in BRACKETS
        content = Node("list") if empty else self.expression()
        made = BRACKETS.get((opening, self.text))
        self.take()
        self.opening = outer
        items = content.items if content.kind == "list" else (content,)
        if made is None or empty and made != "set" or len(items) == 1 and made in ("(]", "[)"):
            raise Unreadable
        if made in ("abs", "floor", "ceil"):
            return Node("call", (content,), made)
        if made == "set" and {"relation", "where"} & {item.kind for item in (content, *items)}:  # \{x \mid x > 3\}
            return content
        if made == "set" and (opening != "{" or len(items) > 1):
            return Node("set", items)
        if made == "[]" and all(item.kind == "tuple" for item in items):  # [[1, 2], [3, 4]] is a matrix
            items, made = tuple(item._replace(value="()") for item in items), "()"
        return Node("tuple", items, made) if len(items) > 1 else content

    def environment(self):
        name = self.raw()
        if name == "array":
            self.raw()  # {cc}
        content = self.expression(INFIX)  # anything, rows and cells included
        self.take(r"\end")
        self.raw()
        if name not in ("case", "gathered") and name.strip("pbB") not in ("matrix", "array", "smallmatrix"):
            raise Unreadable
        rows = content.items if content.kind == "rows" else (content,)
        if name in ("case", "gathered"):  # -s is cut off
            return Node("list", tuple(Node("tuple", row.items, "()") if row.kind == "list" else row for row in rows))
        return Node("tuple", rows, "()")


# What the parser makes of operands.
def bare(node, label="unit"):
    return node.items[0] if node.kind == label else node


def labelled(kind, items):
    """A Node whose items' one label is moved outside: 30° + 15° is (30 + 15)°, and -5% is (-5)%."""
    if kind == "neg" and items[0].kind == "percent":
        return Node("percent", (Node("neg", items[0].items),))
    units = [item.value for item in items if item.kind == "unit"]
    if len(set(units)) != 1 or kind == "mul" and len(units) > 1:  # 5 cm times 5 cm is no 25 cm
        return Node(kind, items)
    return Node("unit", (Node(kind, tuple(map(bare, items))),), units[0])


def product_of(factors):
    return labelled("mul", tuple(factors)) if len(factors) > 1 else factors[0]


def joined(power, items, signs):
    if power == INFIX and len(items) == 2:
        return over(*items) if signs[0] == r"\over" else binomial(*items)
    if power == ROWS:
        return Node("rows", items)
    if power == CELLS:
        return Node("tuple", items, "()")
    if power == LIST:
        return listed(items, set(signs))
    if power == RELATION or power == UNION and items[0].kind in ("tuple", "set"):
        return Node("relation" if power == RELATION else "union", items, signs)
    if power == SUM:
        return labelled("add", items)
    if power != RATIO:
        raise Unreadable
    match items:
        case Node("number", _, (n, _)), Node("number", _, (modulus, _)) if signs == (r"\pmod",) and 0 <= n < modulus:
            return Node("unit", items[:1], f"mod {modulus}")  # but 5 (mod 3) is no 5
        case (first, last) if signs == (":",):
            ratio = over(bare(first), bare(last))
        case (first, *_, last) if r"\pmod" not in signs:  # 1:2:3 is 2:4:6
            ratio = Node("tuple", tuple(over(bare(item), first) for item in items), "::")
        case _:
            raise Unreadable
    return last._replace(items=(ratio,)) if last.kind == "unit" else ratio  # 3:30 pm


def listed(items, signs):
    r"""A list. But the last k \in Z of 2k\pi, k \in Z is a label, and x > 1 and x < 3 are 1 < x < 3."""
    statements = all(item.kind == "relation" for item in items)
    if not statements and signs & {r"\land", r"\lor"}:  # p \land q is no list
        raise Unreadable
    match items:
        case (only,):
            return only
        case (*rest, Node("relation", _, (r"\in",)) as last):
            return Node("where", (listed(tuple(rest), signs),), last)
        case Node("relation", (x, a), (first,)), Node("relation", (y, b), (last,)):
            ordered = a.kind == b.kind == "number" and (a.value < b.value) == (first in (">", ">="))  # no x < 1, x > 3
            if x == y and first in FLIPPED and (signs <= {"and", r"\land"} or signs == {","} and ordered):
                return Node("relation", (a, x, b), (FLIPPED[first], last))
    return Node("list", items, "or" if signs & {"or", r"\lor"} else None)


def with_sign(node, sign):
    r"""The tree with every \pm as + (sign 1) or as - (sign -1)."""
    if node.kind == "either":
        inner = with_sign(node.items[0], sign)
        return inner if node.value == sign else labelled("neg", (inner,))
    return node._replace(items=tuple(with_sign(item, sign) for item in node.items))


def in_radians(node):
    if node.kind == "unit" and node.value == DEGREE:
        return Node("mul", (node.items[0], Node("symbol", (), r"\pi"), number(Fraction(1, 180))))
    return node._replace(items=tuple(map(in_radians, node.items)))


def by_name(items):
    """x=.., y=.. in the order of their letters; other items as they are, and x_1=.., x_2=.., too."""
    named = [n for n in items if n.kind == "relation" and n.value == ("=",) and n.items[0].kind == "symbol"]
    names = [re.match(r"\\?([A-Za-z]*)", n.items[0].value)[1] for n in named]
    if not 1 < len(names) == len(items) == len(set(names)):  # so a name that is said twice names nothing
        return items
    return tuple(n for _, n in sorted(zip(names, items)))


def several(node):
    r"""The answers in a list, a set, a union or an expression with \pm; () for a single one."""
    if node.kind in ("list", "set", "union"):
        return tuple(one for item in node.items for one in several(item) or (item,))
    return (with_sign(node, 1), with_sign(node, -1)) if has(node, "either") else ()


def pair_up(p, g, values):
    """Each answer has its partner: in order if one side is a tuple or named by letters, else in any."""
    ps, gs = several(p) or (p,), several(g) or (g,)
    if p.value == "or" and not several(g) and not has(p, "percent") and not has(p, "unit"):  # 3/4 or 0.75
        return all(values.equal(one, g) for one in ps)
    if len(ps) != len(gs):
        kinds = {p.kind, g.kind}
        ordered = p if p.kind == "tuple" else g
        interval = len(ordered.items) == 2 and ordered.value != "()"
        return kinds == {"tuple", "list"} and not interval and values.each(by_name(p.items), by_name(g.items))
    if (by_name(ps) is ps) != (by_name(gs) is gs):  # x=1, y=2 for 1, 2
        return values.each(ps, gs) or values.each(by_name(ps), by_name(gs))
    rest = list(gs) if len(gs) <= 40 else []  # the comparisons are quadratic in it
    for one in ps:
        partners = [i for i, other in enumerate(rest) if values.equal(one, other)]
        if not partners:
            return False
        del rest[partners[0]]  # rounding apart, equality is transitive: any will do
    return True


def nodes_of(node):
    found = [node]
    for one in found:  # which grows meanwhile
        found += one.items
    return found


def has(node, kind, value=None):
    return any(one.kind == kind and value in (None, one.value) for one in nodes_of(node))
