r"""Numbers of a tree, and equality of trees.

    exact values      an int or a Fraction while a value is rational; then equality is ==
    other values      a pair (real, imaginary) of 266-bit floats (80 digits); a = b if |a - b| <= 2^-166 max(|a|, |b|):
                      what people write with a few roots, pi and e is either equal or differs long before 50 digits
    with letters      f = g if f(x) = g(x) at AGREE points x, and nowhere differs where both are defined
    equations         f = 0 and g = 0 are the same if f / g is constant at such points; f > 0 and g > 0 if it is > 0
    sets of reals     intervals, end by end; a union of several in any order

Nothing is simplified: an identity is tested at points, which is cheap, bounded and never undecided. A sum in which one
term swallows another has no value, and what is left where roots cancel (sqrt 8 - 2 sqrt 2) is 0 below 2^-232. Where
letters are negative, roots and logarithms of negative numbers have none: ln x^2 is 2 ln x, but sqrt(x^2) is not x.
"""

import math
import operator
import zlib
from fractions import Fraction

from mpmath.libmp import (  # comes with torch; safe in threads, as its functions take the precision as an argument
    fone, from_rational, fzero, mpc_abs, mpc_div, mpc_log, mpc_mul, mpc_pow, mpc_sub, mpf_acos, mpf_add, mpf_asin,
    mpf_atan, mpf_cos_sin, mpf_cosh_sinh, mpf_div, mpf_e, mpf_floor, mpf_le, mpf_ln10, mpf_ln2, mpf_lt, mpf_pi,
    mpf_pow, mpf_shift, to_int)  # fmt: skip

from engine.latex import FLIPPED, INFINITY, Node, has, minus, nodes_of, number, over, pair_up, several

PRECISION = 266  # bits of a float
EQUAL = 166  # bits in which two equal floats agree
NOISE = 232  # bits below its terms at which the rest of a sum is rounding
WORK = 100_000  # steps of one comparison, a step being about a microsecond
BITS = 16_000  # of an exact number, numerator and denominator together: 3^{2023} has 3,207; a float takes over beyond
ZERO = (fzero, fzero)  # as a pair
NUDGE = mpf_shift(fone, -EQUAL)  # floor(3 - 10^-70) is 3, since such a difference is rounding
LARGEST = 40  # bits of an exponent: e^{10^{11}} has a value, e^{10^{13}} has none
FACTORIAL = 3000  # the largest n of n!
RATIONAL = (int, Fraction)
POINTS, AGREE = range(30), 9  # two different expressions that agree at nine such points are not written by people
NEGATIVE = (1, 3, 4, 5, 7)  # points at which letters are negative: all of them, or about half
SCALES = {2: 20011, 4: 10007, 5: 97}  # letters are below 0.5, 1 or 100 there: n(n - 1) is no |n(n - 1)|
DECIMAL, LONG_DECIMAL = 10, 100_000_000_000  # a decimal of 2 and of 12 digits, in units of its last
INVERSES = {"arcsin": mpf_asin, "arccos": mpf_acos, "arctan": mpf_atan}
RATIOS = dict(zip("sin cos tan cot sec csc".split(), "s1 c1 sc cs 1c 1s".split()))  # sine over 1, ..

# libmp keeps a constant at the highest precision asked for so far. Asked for once, it never changes under a thread.
for constant in (mpf_pi, mpf_e, mpf_ln2, mpf_ln10):
    constant(4 * PRECISION)
CONSTANTS = {r"\pi": (mpf_pi(PRECISION), fzero), "e": (mpf_e(PRECISION), fzero), "i": (fzero, fone)}


class OutOfWork(Exception):
    """The verdict took more than WORK steps."""


# Floats. One of libmp is (sign, mantissa, exponent, bits of the mantissa).
def as_pair(value):
    return value if isinstance(value, tuple) else (from_rational(value.numerator, value.denominator, PRECISION), fzero)


def exact(*values):
    return all(isinstance(value, RATIONAL) for value in values)


def magnitude(x):
    """The bits before the binary point of a float: |x| < 2^magnitude."""
    return x[2] + x[3] if x != fzero else -1_000_000_000


def size(value):
    return mpc_abs(as_pair(value), PRECISION)


def as_real(value):
    """A real value as a float. Raises ArithmeticError for a complex one."""
    real, imaginary = as_pair(value)
    if magnitude(imaginary) > max(magnitude(real) - EQUAL, magnitude(fzero)):
        raise ArithmeticError
    return real


def bits(value):
    return value.numerator.bit_length() + value.denominator.bit_length()


def close(a, b):
    """Are two values equal: exactly if both are rational, else to 50 digits?"""
    if exact(a, b):
        return a == b
    a, b = as_pair(a), as_pair(b)
    distance = mpf_shift(size(mpc_sub(a, b, PRECISION)), EQUAL)  # times 2^EQUAL
    return mpf_le(distance, size(a)) or mpf_le(distance, size(b))


def add_reals(x, y):
    """x + y: 0 where they cancel but for rounding; ArithmeticError where one swallows the other."""
    if fzero in (x, y):
        return y if x == fzero else x
    low, high = sorted((magnitude(x), magnitude(y)))
    if high - low > EQUAL:  # 10^{60} + 1 would be equal to 10^{60}
        raise ArithmeticError
    total = mpf_add(x, y, PRECISION)  # whose last bits are rounding
    return total if magnitude(total) > high - NOISE else fzero


def function_value(name, x):
    """sin, arcsin, sinh, .. of a float. Raises ArithmeticError, or ValueError where the result would be complex."""
    circular = name.removesuffix("h")
    if magnitude(x) > LARGEST or name not in INVERSES and circular not in RATIOS:
        raise ArithmeticError
    if name in INVERSES:
        return INVERSES[name](x, PRECISION)
    sine_and_cosine = mpf_cos_sin if circular == name else mpf_cosh_sinh
    cosine, sine = sine_and_cosine(x, PRECISION)
    parts = {"s": sine, "c": cosine, "1": fone}
    above, below = (parts[part] for part in RATIOS[circular])
    if magnitude(below) < -EQUAL:  # cos(pi / 2) comes out as some 10^-80
        raise ArithmeticError
    return mpf_div(above, below, PRECISION) if magnitude(above) > -EQUAL else fzero


# Trees.
def letters(node):
    """Names of the letters in a tree; i, e and pi are numbers."""
    return {one.value for one in nodes_of(node) if one.kind == "symbol"} - CONSTANTS.keys()


def letter(name, point):
    """i, e, pi, or what stands for a letter at this point, by its name: fractions, some negative; then integers."""
    if name in CONSTANTS:
        return CONSTANTS[name]
    if point is None:  # only numbers were expected
        raise ArithmeticError
    code = zlib.crc32(f"{name} at {point}".encode())  # the same in every process, unlike hash()
    size = 1 + code % 9 if point > 5 else Fraction(1000 + code % 8999, SCALES.get(point, 997))
    negative = point == 1 or point in NEGATIVE and code % 2
    return -size if negative else size


def last_digit(node, least=DECIMAL):
    r"""What the last digit of a decimal is worth: 1/100 for 0.33, 10^{-20} for 1.6 \times 10^{-19}; 0 if it is exact,
    as a decimal of one digit is taken to be: that 1/7 rounds to 0.1 says little."""
    if node.kind == "neg":
        return last_digit(node.items[0], least)
    value, worth = node.value if node.kind == "number" else (0, 0)
    return worth if value >= least * worth else 0


class Values:
    """The values in one verdict, and its budget of work. equal(p, g, values) compares trees; log_base: e if None."""

    def __init__(self, equal=None, log_base=None):
        self.left, self.log_base = WORK, log_base
        self.equal = lambda p, g: equal(p, g, self)

    def each(self, ps, gs):
        return len(ps) == len(gs) and all(map(self.equal, ps, gs))

    def spend(self, steps):
        self.left -= steps
        if self.left < 0:  # a bound that does not depend on the machine, unlike a timeout
            raise OutOfWork

    def value(self, node, point=None):
        """Of a tree at a point (None: it has no letters): rational, or a pair of floats. None where it has none."""
        try:
            return self.compute(node, point)
        except (ArithmeticError, ValueError):
            return None

    def compute(self, node, point):
        self.spend(1)
        values = [self.compute(item, point) for item in node.items]
        match node.kind:
            case "number":
                return node.value[0]
            case "symbol":
                return letter(node.value, point)
            case "add":
                return self.fold(values, operator.add, lambda a, b: tuple(map(add_reals, a, b)))
            case "mul":
                return self.product(*values)
            case "neg":
                return self.product(-1, *values)
            case "inverse":
                return self.power(*values, -1, point)
            case "power":
                return self.power(*values, point)
            case "call":
                return self.call(node.value, point, *values)
            case "percent":
                return self.product(Fraction(1, 100), *values)
            case "factorial":
                return self.factorial(node.value, *values)
        raise ArithmeticError

    def fold(self, values, rational, inexact):
        """Sum or product: of rationals while there are only such, then of pairs."""
        total = values[0]
        for value in values[1:]:
            if exact(total, value):
                self.spend(1 + (bits(value) // 500) ** 2)
                total = rational(total, value)
                total = total if bits(total) <= BITS else as_pair(total)  # since exact numbers may grow without end
            else:
                self.spend(4)
                total = inexact(as_pair(total), as_pair(value))
        return total

    def product(self, *values):
        return self.fold(values, operator.mul, lambda a, b: mpc_mul(a, b, PRECISION))

    def factorial(self, step, n):  # step 2 is n!!
        if not exact(n) or n.denominator > 1 or not 0 <= n <= FACTORIAL:
            raise ArithmeticError
        n = int(n)
        self.spend(n)
        return self.product(1, math.factorial(n) if step == 1 else math.prod(range(n, 0, -2)))

    def power(self, base, exponent, point):
        whole = exact(exponent) and exponent.denominator == 1
        if whole and exact(base) and abs(exponent) * bits(base) <= BITS:
            n = int(exponent)
            self.spend(20 + (n * bits(base) // 500) ** 2)
            return Fraction(base) ** n
        self.spend(200)
        x, y = as_pair(base), as_pair(exponent)
        growth = abs(magnitude(size(x))).bit_length() + magnitude(size(y))  # bits of the exponent of x^y, about
        if x == ZERO or growth > LARGEST:
            raise ArithmeticError
        negative = x[0][0] == 1
        if negative and not whole and point in NEGATIVE:
            raise ArithmeticError
        if negative or x[1] != fzero or y[1] != fzero:
            return mpc_pow(x, y, PRECISION)  # the principal value: \sqrt{-4} is 2i
        return mpf_pow(x[0], y[0], PRECISION), fzero

    def call(self, name, point, value, base=None):
        self.spend(60)
        if name == "abs":
            return abs(value) if exact(value) else (size(value), fzero)
        if name in ("floor", "ceil"):
            sign = 1 if name == "floor" else -1
            nudged = mpf_add(as_real(self.product(sign, value)), NUDGE, PRECISION)  # 3 may come out as 2.99..9
            return sign * to_int(mpf_floor(nudged, PRECISION))
        if name not in ("ln", "log"):
            return function_value(name, as_real(value)), fzero
        base = base or name == "log" and self.log_base
        above = mpc_log(as_pair(value), PRECISION)
        if point in NEGATIVE and above[1] != fzero:
            raise ArithmeticError
        return mpc_div(above, mpc_log(as_pair(base), PRECISION), PRECISION) if base else above

    # Equality of expressions.
    def same(self, p, g, rounding=True):
        """Have two trees the same value, wherever both have one, or one that rounds to g, a decimal?"""
        p_names, g_names = letters(p), letters(g)
        if p_names and g_names and p_names != g_names:  # but \sin^2 x + \cos^2 x is 1
            return False
        names = p_names or g_names
        found, needed = 0, AGREE if names else 1
        bars = names and has(p, "call", "abs") != has(g, "call", "abs")
        for point in POINTS if names else (None,):
            a, b = self.value(p, point), self.value(g, point)
            if a is not None and b is not None:
                if not close(a, b):
                    return not names and rounding and self.rounds(p, g)
                found += 1
            elif bars and a is not b:  # \sqrt{|x|} has a value where \sqrt x has none
                return False
            if found == needed:
                return True
        return False

    def rounds(self, p, g):
        """Is p within half of the last digit of g, a decimal? Or g of that of p, which is too long to be a guess?"""
        half = Fraction(last_digit(g) or last_digit(p, LONG_DECIMAL), 2)
        distance = self.value(minus(p, g)) if half else None
        return distance is not None and mpf_le(size(distance), as_real(half))

    def above_one(self, node):
        value = self.value(node)
        return value is not None and mpf_lt(fone, size(value))  # |value| > 1

    def factor(self, f, g):
        """The constant f / g, or None: f = 0 and g = 0 are the same if there is one."""
        quotient = self.value(over(f, g), 0)  # if it is constant, one point tells it
        if quotient in (None, 0, ZERO) or not letters(f):
            return None
        scaled = Node("mul", (number(quotient), g))
        return quotient if self.same(f, scaled) else None


# Relations: x = 5 is 5 under a name, and x > 3 an interval; other equations are equal up to a factor.
def is_name(node):
    r"""x, f(x), AB, P(A), \sin A: letters and no number."""
    match node:
        case Node("symbol", _, name):
            return name != r"\pi"
        case Node("power", (base, exponent)):  # f^{-1}(x), \sin^2 x
            return is_name(base) and not letters(exponent)
        case Node("call") | Node(value="applied"):  # \sin 2x, f(2), P(X=1)
            return bool(letters(node))
        case Node("mul" | "inverse" | "tuple", items, None | "()"):
            return all(map(is_name, items))
    return False


def name_of(node):
    """A name as text; what is no plain letter gets a text that only the same tree has."""
    if node.value == "applied":
        return f"{name_of(node.items[0])}({node.items[1]})"
    return node.value if node.kind == "symbol" else repr(node).replace("(", "[")


def assigned(node, values):
    """(name, what is said to have it); ("", node) if nothing is named; None for a contradiction or an x = x."""
    parts, signs = node.items, node.value
    if node.kind != "relation" or r"\in" in signs and len(signs) > 1:
        return "", node
    if len(parts) == 2 and is_name(parts[1]) and not is_name(parts[0]):  # 5 = x, 3 < x
        parts, signs = parts[::-1], tuple(FLIPPED.get(sign, sign) for sign in signs)
    if signs[0] in FLIPPED and signs[-1] in FLIPPED:
        return as_interval(node, parts, signs)
    name = name_of(parts[0]) if is_name(parts[0]) else ""
    rest = parts[1:] if name else parts
    known = [value for value in rest if not letters(value)]
    if "!=" in signs or not name and len(known) < len(rest):
        return "", node
    if parts[0] == parts[-1] and len(known) < len(parts):  # x = x says nothing
        return None
    rounding = r"\approx" in signs
    if not all(values.same(known[0], other, rounding) for other in known[1:]):  # 5 = 6; but \frac13 \approx 0.33
        return None
    return name, known[0] if known else rest[-1]


def as_interval(node, parts, signs):
    """(x, its interval) of x > a or a < x <= b, which are put as low < x < high."""
    falls = signs[0] in (">", ">=")
    if falls:
        parts = parts[::-1]
        signs = tuple(FLIPPED.get(sign, sign) for sign in signs[::-1])
    if len(parts) == 2:  # one end is infinite
        parts = (*parts, INFINITY) if falls else (Node("neg", (INFINITY,)), *parts)
        signs = (*signs, "<") if falls else ("<", *signs)
    match parts, signs:
        case (low, x, high), ("<" | "<=" as left, "<" | "<=" as right) if is_name(x):
            ends = {"<": "()", "<=": "[]"}
            return name_of(x), Node("tuple", (low, high), ends[left][0] + ends[right][1])
    return "", node


def relations(p, g, values):
    """x = 5 for 5, and the reverse, but y = 5 for no x = 5; equations and inequalities up to a factor."""
    p_named, g_named = assigned(p, values), assigned(g, values)
    if not p_named or not g_named:
        return False
    (p_name, p_value), (g_name, g_value) = p_named, g_named
    bare_ends = {p.kind, g.kind, p_value.kind, g_value.kind} == {"list", "relation", "tuple"}  # 1, 3 for 1 < x < 3
    known = (p_value is not p or g_value is not g) and not (bare_ends and ("=",) not in (p.value, g.value))
    short, long = sorted((p_name, g_name), key=len)  # the same are a name and none, f and f(x), y and f(x)
    same_name = short in ("", long) or long.startswith((short + "(", short + "_")) or short == "y" and "(" in long
    if known and same_name and values.equal(p_value, g_value):
        return True
    if several(p) or several(g):
        return pair_up(p, g, values)
    match p, g:
        case Node("relation", (a, b), (sign,)), Node("relation", (c, d), (other,)) if sign in ("=", *FLIPPED):
            factor = values.factor(minus(a, b), minus(c, d))
            if factor is None:
                return False
            negative = as_pair(factor)[0][0]  # the sign of its real part
            return other == (FLIPPED.get(sign, sign) if negative else sign)
        case Node("relation", (Node("add") as total, value), ("=",)), _ if not has(total, "number"):  # a + b = 5 for 5
            return not letters(value) and g.kind != "relation" and values.equal(value, g)
    return False


def answers(p, g, values):
    """Lists, sets and unions in any order, tuples in theirs; else expressions."""
    if several(p) or several(g):
        return pair_up(p, g, values)
    if "tuple" in (p.kind, g.kind):
        return p.kind == g.kind and p.value == g.value and values.each(p.items, g.items)
    return values.same(p, g)
