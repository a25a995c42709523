r"""Numbers of a tree, and equality of trees.

    exact values      an int or a Fraction while a value is rational; then equality is ==
    other values      a pair (real, imaginary) of 266-bit floats (80 digits); a = b if |a - b| <= 2^-166 max(|a|, |b|):
                      what people write with a few roots, pi and e is either equal or differs long before 50 digits
    with letters      f = g if f(x) = g(x) at AGREE points x, and nowhere differs where both are defined
    equations         f = 0 and g = 0 are the same if f / g is constant at such points
    sets of reals     intervals, end by end; a union of several in any order

Nothing is simplified, as computer algebra would: an identity is tested at points, which is cheap, bounded and never
undecided. Two rules keep rounding from passing for equality: a sum in which one term swallows another has no value;
what is left where roots cancel, as in sqrt 8 - 2 sqrt 2, is 0 if it is below 2^-232. At two points letters are
negative, where roots and logarithms of negative numbers have no value: ln x^2 is 2 ln x, but sqrt(x^2) is not x.

The floats are those of mpmath.libmp, whose functions take the precision as an argument and so are safe in threads (the
rest of mpmath keeps it in a global context). It comes with torch; requirements.txt pins it, as this file calls it.
"""

import math
import operator
import zlib
from fractions import Fraction

from mpmath import libmp
from mpmath.libmp import fone, from_rational, fzero, mpc_abs, mpf_add, mpf_e, mpf_le, mpf_pi, mpf_shift, mpf_sub

from engine.latex import INFINITY, Node, each, nodes_of, number, pair_up, several

PRECISION = 266  # bits of a float
EQUAL = 166  # bits in which two equal floats agree
NOISE = 232  # bits below its terms at which the rest of a sum is rounding
WORK = 100_000  # steps of one verdict, a step being about a microsecond
BITS = 16_000  # of an exact number, numerator and denominator together: 3^{2023} has 3,207; a float takes over beyond
ZERO = (fzero, fzero)
LARGEST = 40  # bits of an exponent: e^{10^{11}} has a value, e^{10^{13}} has none
FACTORIAL = 3000  # the largest n of n!
RATIONAL = (int, Fraction)
POINTS, AGREE = range(30), 9
NEGATIVE = (1, 3)  # points at which all letters are negative, and about half of them
DECIMAL, LONG_DECIMAL = 10, 100_000_000_000  # a decimal of 2 and of 12 digits, in units of its last
FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
INVERSES = {"arcsin": libmp.mpf_asin, "arccos": libmp.mpf_acos, "arctan": libmp.mpf_atan}
RATIOS = dict(zip("sin cos tan cot sec csc".split(), "s1 c1 sc cs 1c 1s".split()))  # sine over 1, ..

# libmp keeps a constant at the highest precision asked for so far. Asked for once, it never changes under a thread.
for constant in (mpf_pi, mpf_e, libmp.mpf_ln2, libmp.mpf_ln10):
    constant(4 * PRECISION)
CONSTANTS = {r"\pi": (mpf_pi(PRECISION), fzero), "e": (mpf_e(PRECISION), fzero), "i": (fzero, fone)}


class NoValue(Exception):
    """Undefined, or beyond the bounds."""


class OutOfWork(Exception):
    """The verdict took more than WORK steps."""


# Floats. One of libmp is (sign, mantissa, exponent, bits of the mantissa).
def as_pair(value):
    """A value as a pair of floats."""
    if isinstance(value, tuple):
        return value
    return from_rational(value.numerator, value.denominator, PRECISION), fzero


def exact(*values):
    return all(isinstance(value, RATIONAL) for value in values)


def magnitude(x):
    """The bits before the binary point of a float: |x| < 2^magnitude."""
    return x[2] + x[3] if x != fzero else -1_000_000_000


def size(value):
    return mpc_abs(as_pair(value), PRECISION)


def as_real(value):
    """A real value as a float. Raises NoValue for a complex one."""
    real, imaginary = as_pair(value)
    if magnitude(imaginary) > max(magnitude(real) - EQUAL, magnitude(fzero)):
        raise NoValue
    return real


def bits(value):
    return value.numerator.bit_length() + value.denominator.bit_length()


def close(a, b):
    """Are two values equal: exactly if both are rational, else to 50 digits?"""
    if exact(a, b):
        return a == b
    a, b = as_pair(a), as_pair(b)
    distance = mpf_shift(size(libmp.mpc_sub(a, b, PRECISION)), EQUAL)
    return mpf_le(distance, size(a)) or mpf_le(distance, size(b))


def add_reals(x, y):
    """x + y: 0 where they cancel but for rounding; NoValue where one swallows the other."""
    if fzero in (x, y):
        return y if x == fzero else x
    low, high = sorted((magnitude(x), magnitude(y)))
    if high - low > EQUAL:
        raise NoValue
    total = mpf_add(x, y, PRECISION)
    return total if magnitude(total) > high - NOISE else fzero


def multiply_pairs(a, b):
    if a[1] == b[1] == fzero:
        return libmp.mpf_mul(a[0], b[0], PRECISION), fzero
    return libmp.mpc_mul(a, b, PRECISION)


def inverse(value):
    if value in (0, ZERO):
        raise NoValue
    return Fraction(1, value) if exact(value) else libmp.mpc_reciprocal(value, PRECISION)


def ratio(x, y):
    """x / y of a sine and a cosine, in which 0 comes out as some 10^-80."""
    if magnitude(y) < -EQUAL:
        raise NoValue
    return libmp.mpf_div(x, y, PRECISION) if magnitude(x) > -EQUAL else fzero


def function_value(name, x):
    """sin, arcsin, sinh, .. of a float. Raises NoValue or, where the result would be complex, ValueError."""
    circular = name.removesuffix("h")
    if magnitude(x) > LARGEST or name not in INVERSES and circular not in RATIOS:
        raise NoValue
    if name in INVERSES:
        return INVERSES[name](x, PRECISION)
    sine_and_cosine = libmp.mpf_cos_sin if circular == name else libmp.mpf_cosh_sinh
    cosine, sine = sine_and_cosine(x, PRECISION)
    parts = {"s": sine, "c": cosine, "1": fone}
    return ratio(*(parts[part] for part in RATIOS[circular]))


# Trees.
def letters(node):
    """Names of the letters in a tree; i, e and pi are numbers."""
    return {one.value for one in nodes_of(node) if one.kind == "symbol"} - CONSTANTS.keys()


def letter(name, point):
    """i, e, pi, or the number that stands for a letter at this point, a function of its name: fractions, some
    negative; then integers, for what is only defined there."""
    if name in CONSTANTS:
        return CONSTANTS[name]
    if point is None:
        raise NoValue
    code = zlib.crc32(f"{name} at {point}".encode())
    if point >= 5:
        return 1 + code % 9
    negative = point == 1 or point == 3 and code % 2
    return Fraction(1000 + code % 8999, -997 if negative else 997)


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

    def spend(self, steps):
        self.left -= steps
        if self.left < 0:
            raise OutOfWork

    def value(self, node, point=None):
        """Of a tree at a point (None: it has no letters): rational, or a pair of floats. Raises NoValue."""
        try:
            return self.compute(node, point)
        except (ArithmeticError, ValueError):
            raise NoValue from None

    def compute(self, node, point):
        """The value of a node from those of its items."""
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
                return inverse(*values)
            case "power":
                return self.power(*values, point)
            case "call":
                return self.call(node.value, point, *values)
            case "percent":
                return self.product(Fraction(1, 100), *values)
            case "factorial":
                return self.factorial(node.value, *values)
        raise NoValue

    def fold(self, values, rational, inexact):
        """Sum or product: of rationals while there are only such, then of pairs."""
        total = values[0]
        for value in values[1:]:
            if exact(total, value):
                self.spend(1 + (bits(value) // 500) ** 2)
                total = rational(total, value)
                total = total if bits(total) <= BITS else as_pair(total)
            else:
                self.spend(4)
                total = inexact(as_pair(total), as_pair(value))
        return total

    def product(self, *values):
        return self.fold(values, operator.mul, multiply_pairs)

    def factorial(self, step, n):  # step 2 is n!!
        if n not in range(FACTORIAL + 1):
            raise NoValue
        self.spend(int(n))
        return self.product(1, math.factorial(int(n)) if step == 1 else math.prod(range(int(n), 0, -2)))

    def power(self, base, exponent, point):
        whole = exact(exponent) and exponent.denominator == 1
        if whole and exact(base) and abs(exponent) * bits(base) <= BITS:
            self.spend(20 + (int(exponent) * bits(base) // 500) ** 2)
            return Fraction(base) ** int(exponent)
        self.spend(200)
        x, y = as_pair(base), as_pair(exponent)
        negative = x[0][0] == 1
        growth = abs(magnitude(size(x))).bit_length() + magnitude(size(y))
        if x == ZERO or growth > LARGEST or point in NEGATIVE and negative and not whole:
            raise NoValue
        if negative or x[1] != fzero or y[1] != fzero:
            return libmp.mpc_pow(x, y, PRECISION)
        return libmp.mpf_pow(x[0], y[0], PRECISION), fzero

    def call(self, name, point, value, base=None):
        self.spend(60)
        if name == "abs":
            return abs(value) if exact(value) else (size(value), fzero)
        if name not in ("ln", "log"):
            return function_value(name, as_real(value)), fzero
        base = base or name == "log" and self.log_base
        above = libmp.mpc_log(as_pair(value), PRECISION)
        if point in NEGATIVE and above[1] != fzero:
            raise NoValue
        return multiply_pairs(above, inverse(libmp.mpc_log(as_pair(base), PRECISION))) if base else above

    # Equality of expressions.

    def samples(self, p, g):
        """Both values wherever both have one: where there are no letters, or or at AGREE points."""
        found = 0
        for point in POINTS if letters(p) else (None,):
            try:
                yield self.value(p, point), self.value(g, point)
            except NoValue:
                continue
            found += 1
            if found == AGREE:
                break

    def same(self, p, g, rounding=True):
        """Have two trees the same value, wherever both have one, or one that rounds to g, a decimal?"""
        if letters(p) != letters(g):
            return False
        found = 0
        for a, b in self.samples(p, g):
            if not close(a, b) and (letters(p) or not rounding or not self.rounds(p, g)):
                return False
            found += 1
        return found >= (AGREE if letters(p) else 1)

    def rounds(self, p, g):
        """Is p within half of the last digit of g, a decimal? Or g of that of p, which is too long to be a guess?"""
        half = Fraction(last_digit(g) or last_digit(p, LONG_DECIMAL), 2)
        try:
            distance = mpf_sub(*[as_real(self.value(node)) for node in (p, g)], PRECISION)
        except NoValue:
            return False
        return half > 0 and mpf_le(libmp.mpf_abs(distance), as_real(half))

    def proportional(self, f, g):
        """Is f / g constant: are f = 0 and g = 0 the same?"""
        try:
            quotient = self.product(self.value(f, 0), inverse(self.value(g, 0)))
        except NoValue:
            return False
        return bool(letters(f)) and self.same(f, Node("mul", (number(quotient), g)))


# Relations: x = 5 is 5 under a name, and x > 3 an interval; other equations are equal up to a factor.
def is_name(node):
    r"""x, f(x), AB, P(A), \sin A: letters and no number."""
    if node.kind == "symbol":
        return node.value != r"\pi"
    if node.kind == "power":  # f^{-1}(x), \sin^2 x
        return is_name(node.items[0]) and not letters(node.items[1])
    if node.kind == "call" or node.value == "applied":  # \sin 2x, f(2), P(X=1)
        return bool(letters(node))
    return node.kind in ("mul", "inverse", "tuple") and node.value in (None, "()") and all(map(is_name, node.items))


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
    if parts[0] == parts[-1] and len(known) < len(parts):
        return None
    rounding = r"\approx" in signs
    if not all(values.same(known[0], other, rounding) for other in known[1:]):  # 5 = 6; but \frac13 \approx 0.33
        return None
    return name, known[0] if known else rest[-1]


def as_interval(node, parts, signs):
    """(x, its interval) of x > a or a < x <= b, which are put as low < x < high."""
    falls = signs[0] in (">", ">=")
    if len(parts) == 2:
        parts, signs = (INFINITY if falls else Node("neg", (INFINITY,)), *parts), (signs[0][0], *signs)
    if falls:
        parts, signs = parts[::-1], [FLIPPED[sign] for sign in signs[::-1]]
    if len(parts) > 3 or not is_name(parts[1]) or signs[1][0] == ">":
        return "", node
    brackets = ("[" if "=" in signs[0] else "(") + ("]" if "=" in signs[1] else ")")
    return name_of(parts[1]), Node("tuple", parts[::2], brackets)


def same_name(a, b):
    """A name and none are, f(x) and f, y and f(x)."""
    short, long = sorted((a, b), key=len)
    return short in ("", long) or long.startswith((short + "(", short + "_")) or short == "y" and "(" in long


def relations(p, g, values):
    """x = 5 for 5, and the reverse, but y = 5 for no x = 5; equations up to a factor."""
    p_named, g_named = assigned(p, values), assigned(g, values)
    if not p_named or not g_named:
        return False
    (p_name, p_value), (g_name, g_value) = p_named, g_named
    if (p_value is not p or g_value is not g) and same_name(p_name, g_name) and values.equal(p_value, g_value):
        return True
    if several(p) or several(g):
        return pair_up(p, g, values)
    if {p.value, g.value} != {("=",)}:
        return False
    return values.proportional(*(Node("add", (n.items[0], Node("neg", n.items[1:]))) for n in (p, g)))


def answers(p, g, values):
    """Lists, sets and unions in any order, tuples in theirs; else expressions."""
    if several(p) or several(g):
        return pair_up(p, g, values)
    if "tuple" in (p.kind, g.kind):
        return p.kind == g.kind and p.value == g.value and each(p.items, g.items, values)
    return values.same(p, g)
