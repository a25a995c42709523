r"""What people write around an answer: patterns, with an example for each alternative, and the functions that use them.

verifier.py says what counts as right; to follow it you need the names of this file and none of its patterns. Marks
announce an answer: "The answer is 5". Remarks are about it: "The answer is correct". A clause ends where the sentence
goes on: "5, because ..". Boxes hold answers. Labels say nothing of the value: "the minimum is 5". Choices: (B), "B: 7".
"""

import re
from collections import namedtuple

from engine.latex import FUNCTIONS, GREEK, LIMIT, STYLE, plain, to_latex

# What a response shows, from its end, and a formula or a number in it, of which the last may be the answer.
TAIL = 200_000  # characters that are searched: more than any model answers
TAG = r"(?:think|thinking|thoughts?|reasoning|reflection|scratchpad)>"
THOUGHT = re.compile(rf"<{TAG}.*?(?:</{TAG}|\Z)", re.I | re.S)  # without </think> all after <think> is hidden
SPECIAL = re.compile(r"<[|｜][^<>|｜]{1,40}[|｜]>|</?s>")  # <|im_end|>
LAST = re.compile(r"\$\$[^$]{1,500}\$\$|\$[^$\n]{1,200}\$|\\\([^\n]{1,200}?\\\)|\\\[.{1,500}?\\\]"  # $5$
    r"|\\begin\{([pbv]?matrix)\}.{1,500}?\\end\{\1\}|-?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?", re.A | re.S)  # fmt: skip


def shown(response):
    """Without thoughts; a special token ends a line."""
    text = re.split(f"</{TAG}", THOUGHT.sub("", response), flags=re.I)[-1]  # all before a </think> is hidden, too
    return SPECIAL.sub("\n", text[-TAIL:])


# Marks: what announces an answer. `final` is what claims to be the last word.
PAD = r"[\s*_}]*"  # of **Answer** and \text{Answer }
FORMULA = r"(?=\$|\\[\[(])"  # a formula follows
ARROW = r"[-=]+>|[:：=→]"
IS = rf"(?:(?:must |should |would |(?:comes|turns) out to )be\b|is\b|are\b|equals\b|{ARROW})"
MARK = re.compile(
    r"(?P<final><(?:final_)?answer>|####"  # <answer>5</answer>; #### 5
    r"|最[终后]答案(?:应[该当]?|就|即)?\s*(?:[是为:：]|等于)"  # 最终答案是5
    rf"|(?<![A-Za-z])final\s+ans(?:wer)?{PAD}(?:is\b|equals\b|{ARROW}|—|\n|{FORMULA})[:：]?)"  # **Final Answer:** 5
    rf"|(?<![A-Za-z])ans(?:wers?)?{PAD}(?:(?:to|for|of)\s[^.\n]{{1,60}}?\s)?{IS}"  # The answer (to question 2) is 5
    rf"|(?-i:(?<![A-Za-z])(?:Answer|ANSWER)){PAD}{FORMULA}"  # Answer $5$
    r"|(?:correct|best) (?:option|choice|letter)[\s*_]*(?:is\b|:)"  # The correct option is B
    r"|(?:\*\*|#\s*)answer[*_:\s]*\n|choose(?: option)?(?=\s+[(*]*[A-J]\b)"  # **Answer**, and 5 below it; I choose B
    r"|(?:(?:hence|thus|so|therefore),?\s+(?:option\s+)?|(?<![a-z])option\s+)"  # Hence (B) is correct;
    r"(?=\(?[A-J]\)?\sis\s(?:the\s)?(?:correct|answer))"  # option B is the answer
    r"|答案[】\]]|(?=(?<![A-Z])[A-J]\s?项正确)|答案(?:应[该当]?|就|则|便|即)?\s*(?:[是为:：]|等于)"  # 【答案】5; B项正确; 答案是5
    r"|正确(?:的)?选项[是为:：]|(?:答案|故|因此|所以|应)选择?"  # 正确选项为B; 故选B
    r"|(?<!不)选择?(?=[\s:：*(]*[A-J])|(?<![解回问])答[:：]", re.I)  # 选B, unlike 不选B; 答：5, unlike 解答：  # fmt: skip
FILLER = re.compile(  # between a mark and the answer: is, therefore, 5; is that there are 5 ways
    r"[\s*_:：,}]*(?:(?:therefore|thus|simply|just|indeed|equal to|given by|found to be|that (?=there|the )"
    r"|approximately|exactly|precisely|clearly|then|option|choice)(?![A-Za-z])[\s:,*]*)*", re.I)  # fmt: skip

# What may follow a mark without giving an answer: a remark (The answer is correct), or a sentence without a number.
REMARK = re.compile(
    r"(?:also |always |actually |definitely |indeed )?(?:(?:in)?correct|right|wrong|final|verified|confirmed|unique"
    r"|reasonable|consistent|(?:in)?valid|the (?:one|same|only|correct|right|final)|in|within|inside|not|based|boxed"
    r"|as (?:follows|above|required|shown|below|expected)|clear|shown|what|that|found|derived|expected|obvious|complete"
    r"|obtained|enclosed|put|accurate|ready|here|below|above|supported|checked|now|provided|written|stated|reached"
    r"|thus an?|too|an? [a-z]+ of)(?![A-Za-z])|正确|错|唯一|对的|合理|最终|成立|符合|经", re.I)  # fmt: skip
WORDS = re.compile(r"(?:(?:an?|the)\s[A-Za-z\s'-]+|[A-Za-z]+(?:[\s'-]+[A-Za-z]+){3,})[^0-9\\$^=]*")

# Clauses: where an answer stops and the sentence goes on. An `aside` ends only a value, since words may go on so.
CLAUSE_END = re.compile(
    r"[.。](?:\s|$)|。|[!?！？;；](?=\s|$)|\*\*(?:\s|$)"  # 5. Hence; 5! So; **5** is
    r"|,?\s(?:which|because|since|so|where|who)\s|,\s(?:not|as|or about)\s|[，,](?:因为|所以|其中|经)"  # 5, which; 5, not 6
    r"|</(?:final_)?answer>|\sis\s(?:the\s)?(?:correct|answer)"  # <answer>5</answer>; B is correct
    r"|\s[(\[](?:(?!or\b|not\b|and\b|but\b)[a-z]{2,}\b|i\.e\.)"  # 5 (see above), but not 5 (or 6)
    r"|(?P<aside>,\s+(?!(?:or|and|sin|cos|tan|cot|sec|csc|log|ln|sqrt|pi|arc\w+)\b)[a-z]{2,}"  # 5, hence; not 5, sin 1
    r"|,\s+(?:and\s+[a-z]{2,}|I\s|i\.e)|\s(?:as|and (?:this|we|that|so|it|the))\s"  # 5, and we are done; 5 as claimed
    r"|\s:\)|\s[-–—]+\s+(?=[A-Za-z]{2})|\s*—\s*(?=[a-z]{2}))", re.I)  # 5 :); 5 - done; 5—done  # fmt: skip
VALUE = re.compile(r"[0-9]|\\[a-zA-Z]|\A[\s(*]*[A-J][\s)*.:]*\Z")  # 5; \pi; (B)
DISPLAY = re.compile(r"\s*(?:\\\[(.*?)\\\]|\$\$(.*?)\$\$)", re.S)  # \[ 5 \]; $$ 5 $$
LIST_MARK = re.compile(r"\s*(?:[-*•+]|\d{1,2}[.)])\s+(?=\S)")  # the 1. of "1. 45" is no answer
OPTION = re.compile(r"(?<![A-Za-z])[A-J](?=[.:、]\s)")  # A. and B. of "A. 5 B. 6"
EDGES = ' *_`"“”.:：!！?？;；,，。~✓✔✅∎□'


def first_clause(text, new_line):
    """The answer at the start of a text: a displayed formula, or the first clause of the first line."""
    display = DISPLAY.match(text)
    if display:
        return (display[1] or display[2] or "").strip()
    item = LIST_MARK.match(text) if new_line else None
    line = text[item.end() if item else 0 :].split("\n", 1)[0]
    if len(set(OPTION.findall(line))) < 2:  # else all of "A. 5 B. 6"
        for end in CLAUSE_END.finditer(line):
            before = line[: end.start()]
            if not end["aside"] or VALUE.search(before):
                line = before
                break
    line = "".join(c for c in line if ord(c) < 0x1F000).strip(EDGES)  # no emoji
    return unlabelled(line).strip(EDGES)


# Labels. NAME is the words of "The total is 12", "Volume: 12" or "\text{the minimum is } 12".
NAME = r"(?:\\text\s*\{\s*)?(?=It\s|[A-Za-z ]*[a-z]{3})([A-Za-z]{2}[A-Za-z, $]{1,60}?)\s*"
SAYS = r"(?:[:：=]|\b(?:is|are|equals|be|get|has|have|needs?|pays|costs)\b(?: equal to)?)[\s}*]*"
NUMBER_AHEAD = r"(?=.*(?:[0-9]|\\(?:pi|sqrt|infty|emptyset)))"
POINT = r"(?<=point|enter|ertex|focus)\s*\}?(?=\s*\()"  # Midpoint (3,5); \text{Center } (3,5)
SAID = re.compile(rf"{NAME}(?:{SAYS}{NUMBER_AHEAD}|{POINT})", re.S)
# "not five: 5" does not say 5, and alpha = 5 keeps its name.
NOT_SAID = {*GREEK, *FUNCTIONS, *"not nor neither never no without if unless than except wrong incorrect root".split()}
ARTICLE = re.compile(r"(?:\\text\s*\{)?\s*(?:the\s+)?", re.I)  # of "the answer is 5"
INSIDE = r"(?:[^{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*"  # with braces in it, to three levels
WRAPPED = re.compile(  # $$5$$; $5$; "5"; '5'; `5`; \text{5}
    r"\$\$([^$]*)\$\$|\$([^$]*)(?<!\\)\$|\"([^\"]*)\"|'([^']*)'|`([^`]*)`"
    rf"|\\(?:text|boxed|fbox)\s*\{{({INSIDE})\}}", re.S)  # fmt: skip


def unlabelled(text):
    """Without "the answer is", "Total:" and the like."""
    mark = MARK.match(text, ARTICLE.match(text).end())
    if mark and mark.end() < len(text):
        return text[FILLER.match(text, mark.end()).end() :]
    said = SAID.match(text)
    if said and NOT_SAID.isdisjoint(said[1].lower().split()):
        return text[said.end() :]
    return text


def undressed(text):
    """Without what is only around an answer: white space, a pair of $ or of quotes, a box."""
    found = WRAPPED.fullmatch(text.strip()) if len(text) <= LIMIT else None
    return undressed(found[found.lastindex]) if found else text.strip()


Box = namedtuple("Box", "start end content")  # \boxed{content}, from start to end of the text
BRACES = re.compile(r"\\{1,2}(?:boxed|fbox)(?![A-Za-z])\s*(\{?)|\\(?:[A-Za-z]+|.)|[{}]", re.S)
BARE = re.compile(r"\\[dt]?frac\s*(?:\{[^{}]*\}){2}|-?[0-9][0-9.,/]*(?<=[0-9])|[A-Za-z](?![A-Za-z])")  # \boxed 5
is_empty = re.compile(r"(?:\\?[lc]?dots|[.\s_…]|your|final|the|answer|here|\\text|[{}])*", re.I).fullmatch
JOINT = re.compile(  # between two boxes that make one answer
    r"(?:[\s,，、;；.$&{}]|\\(?:text|q?quad|[,; ()\[\]]))*"  # 1, 2
    r"(?P<word>and|or|和|或|及)?(?:[\s}$]|\\(?:q?quad|[,; (\[]))*"  # 1 \text{ and } 2
    r"(?P<part>(?:\*{0,2}[(（](?:[1-9a-e]|i{1,3}|iv)[)）]\*{0,2}|part [1-9a-e]:?|第[一二三四]空[:：])"  # 1 (b) 2; 1 Part 2: 2
    r"[\s$]*(?:\\[(\[]\s*)?)?(?:[A-Za-z](?:_?\d)?\s*=\s*)?\$?", re.I)  # 1, $y = 2  # fmt: skip
MINUS_BEFORE = re.compile(r"(?:^|[\s=$(:]|\\[\[(])-$|(?:[=$(]|\\[\[(])\s*-\s*$")  # it is -\boxed{5}; = - \boxed{5}
FACTOR_AFTER = re.compile(r"\s*(?:\\?%|[_^]\s*(?:\{[^{}]{1,20}\}|\\?\w+)|\\pi(?![a-z])"  # 5%; 5^2, 5^{\circ}; 5\pi
    r"|\\sqrt\s*(?:\{[^{}]*\}|\d)|[!a-z](?=\s*\$)|[a-z]\^(?:\{[^{}]{1,20}\}|\w))")  # 5\sqrt2; $5x$; 5x^2  # fmt: skip


def find_boxes(text):
    r"""The outermost balanced \boxed{..}, in one pass; an escaped \{ is no brace."""
    boxes, opened = [], []  # opened: (where the box starts or None, where its content starts) of each open brace
    for token in BRACES.finditer(text):
        is_box = token[1] is not None
        if token[0] == "{" or token[1]:
            opened.append((token.start() if is_box else None, token.end()))
        elif is_box:  # \boxed 5 has no braces
            bare = BARE.match(text, token.end())
            boxes += [Box(token.start(), bare.end(), bare[0])] if bare else []
        elif token[0] == "}" and opened:
            start, inside = opened.pop()
            if start is not None:
                while boxes and boxes[-1].start > start:  # boxes within this one
                    boxes.pop()
                boxes.append(Box(start, token.end(), text[inside : token.start()].strip()))
    return boxes


def joined(text, box, after):
    """Does nothing but a comma, `and` or a name stand between two boxes?"""
    gap = text[box.end : after.start]
    joint = JOINT.fullmatch(gap) if len(gap) <= 40 else None
    return joint and ("\n" not in gap or joint["word"] or joint["part"])


def in_formula(text, box):
    r"""The content of a box with what belongs to it: -\boxed{5} is -5, and \boxed{5}\pi is 5\pi."""
    minus = MINUS_BEFORE.search(text[max(0, box.start - 10) : box.start])
    factor = FACTOR_AFTER.match(text, box.end)
    in_brackets = (minus or factor) and not box.content.isalnum()
    content = f"({box.content})" if in_brackets else box.content
    return ("-" if minus else "") + content + (factor[0] if factor else "")


# Choices are told by their looks, before any parsing: (B), B., b, option B, "B: 7"; ABD, "A, B and D", A、B、D.
CHOICE_WORDS = re.compile(r"(?:correct |the )*(?:options?|choices?|answers?)(?: is| are)?[\s:]|选?项|故?选|答案", re.I)
BETWEEN = re.compile(r"[\s(),、,；;.&:*]|\band\b|和")
WITH_TEXT = re.compile(r"[{\s]*\(?\s*([A-J])\s*(?:\)\s*[.:、]?|[.:、]|\s-\s)[}\s]*([^\s},;+*/=^:?].*)", re.S)
ANOTHER = re.compile(r"(?<![A-Za-z\\])\(?[A-J]\s*[.:)、]|(?:\b(?:or|and)\b|[或和])\s*\(?[A-J](?![A-Za-z])"  # B. 6; or B
    r"|\A\s*(?:or\b|and\b|或|和)")  # and 6  # fmt: skip
LETTER = re.compile(r"[A-J]|(?<![A-Za-z])[a-j](?![A-Za-z])")


def choice(text):
    """(letters of options, the text that comes with a single one), both empty for an answer that is no choice."""
    text = to_latex(text)
    if not LETTER.search(text):
        return set(), ""
    letters = BETWEEN.sub("", CHOICE_WORDS.sub("", plain(text)))
    letters = letters.upper() if len(letters) == 1 else letters  # "a" may be a choice, "ab" is a product
    if letters and set(letters) <= set("ABCDEFGHIJ") and len(set(letters)) == len(letters):
        return set(letters), ""
    found = WITH_TEXT.fullmatch(CHOICE_WORDS.sub("", STYLE.sub(" ", text).replace("$", " ").replace("**", "")))
    if not found or ANOTHER.search(found[2]):  # two options are no choice
        return set(), ""
    rest = found[2].rstrip()
    return {found[1]}, rest[:-1] if rest.count("}") > rest.count("{") else rest  # the brace of \text{A. 5}
