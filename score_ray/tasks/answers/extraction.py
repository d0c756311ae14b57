r"""Finds the answer in a completion, and the gold answer in a solution.

A completion gives its answer in the paper's final sentence, in \boxed{} or after ####. The last
of these counts; a number in an intermediate step does not. Boxes that only "and", "or" or a comma
stands between are one list. A sentence that gives several values is an answer as a whole.
"""

import re

from score_ray.tasks.answers.equality import same_answer
from score_ray.tasks.answers.spelling import normalized, plain
from score_ray.tasks.answers.units import VALUES as SECOND_WORDS

# The paper's prompt asks for the sentence (arXiv 2409.12917, appendix C).
MARKS = re.compile(r"final answer is|####|\\boxed|\\fbox", re.I)
WEAK_MARKS = re.compile(r"\banswer(?: is|\**:)", re.I)  # used if there are no MARKS
HOPE = re.compile(r"I hope it is correct", re.I)
SENTENCE_ENDS = re.compile(r"\n|(?<!approx)(?<!\bca)(?<!\bRs)\.(?=\s|\**$)|。")
FORMULA = r"(?:\$\$(?:\\.|[^$\\])+\$\$|\$(?:\\.|[^$\\])+\$|\\\(.+?\\\)|\\\[.+?\\\])"
FORMULAS = re.compile(rf"{FORMULA}(?:\s*(?:,|,?\s*and|,?\s*or)\s*{FORMULA})*", re.S)
NAME = re.compile(r"\W*\\?[A-Za-z]*(?:_\{?\w\}?)?\W*")  # $n$, \(\theta\) or $x_1$
VERB = re.compile(r"\b(?:is|are|equals?|be)\b(?:\s*:)?\s*", re.I)
LEADS = re.compile(r"(?:\b(?:by|as|is|be|to|equals?)|:)$", re.I)  # to a formula below
# What may follow an answer: an explanation, but not a second value.
EXPLAINS = re.compile(
    r"\b(?:since|because|where|when|for|with|as|given|if|at|in|on|of|per|from|by|after|so|which|"
    r"that|who|using|rounded)\b",
    re.I,
)
ADDS = re.compile(
    r"\b(?:or|and|nor|but|not|maybe|perhaps|possibly|alternatively|also|else|otherwise|either|"
    r"versus|vs|instead|unless)\b|[;/&=|(~]|\\approx|\\neq",
    re.I,
)
OFFERS = re.compile(r"\b(?:or|and|but|not|maybe|perhaps|possibly|either)\b|;", re.I)
HEDGES = re.compile(r"\b(?:or|maybe|perhaps|possibly|alternatively|instead|unless)\b", re.I)
# A second choice beside $B$, and a second value for a second case: "$7$ if $a>0$, $8$ if $a<0$".
LETTER = re.compile(r"\W*(?:\\text\w*\{\W*)?[A-HJ-Z]\b")
CASES = re.compile(r"\b(if|when|for|where)\b.*[,;]\s*(?:and\s+)?(?:\d|\$|\\\(|-).*\b\1\b", re.S)
VALUE = re.compile(r"\d|\$|\\\(|\\\[|\\frac|\\sqrt")
DELIMITERS = re.compile(r"(?<!\\)\\[()\[\]]")
WORDS = re.compile(r"(?<!\\)\b[A-Za-z]{2,}")
BOX = re.compile(r"\\(?:boxed|fbox)\s*(\{|[^\s{])")
# Between two boxes of one list. At least one of these is more than a space.
LIST_SIGNS = re.compile(
    r"(?:\s|\$|\\[()\[\],;! ]|\\q?quad|\.?\\text\s*\{[\s,]*(?:and|or)[\s,]*\}|,|;|"
    r"\b(?:and|or)\b|(?<![A-Za-z])\\?[A-Za-z]\w?(?:_\{?\w+\}?)?\s*=)+"
)
JOINS = re.compile(r"[,;]|\b(?:and|or)\b")

MAX_COMPARED_BOXES = 8  # of one list; in a longer one only the same text is the same value
MAX_GOLD_WORDS = 10  # in a gold answer without a mark
MAX_GOLD_WORDS_ALONE = 4  # in one that has neither a digit nor a sign of mathematics
MATHEMATICS = re.compile(r"[\d\\$^=+*/<>]")
PROSE = re.compile(r"[a-z]{2}[.!?]\s+[A-Z]|\n\s*\n")
MISSING = re.compile(
    r"\W*(?:n/a|n\.a\.?|nan|null|tbd|todo|(?:see|as) .*|missing|illegible|"
    r"(?:the )?(?:answer )?(?:is )?not (?:available|given|provided|known)|"
    r"(?:no )?(?:final )?answer ?(?:above|below|missing|available|given|provided)?|"
    r"solution (?:above|below|missing)|"
    r"(?:answers?|it) (?:may )?var(?:y|ies)|above|below|omitted)\W*",
    re.I,
)
DOUBTS = re.compile(r"\b(?:hm+|unclear|unsure|unknown|idk|don'?t know|not sure)\b", re.I)


def gold_answer(answer: str) -> str:
    """Return the answer in a solution: after ####, else in the last box, else all of it.

    Raises ValueError if that is empty, prose, or words for a missing answer such as "unknown": an
    error in the data must not count as a wrong answer of the model.
    """
    if "####" in answer:
        gold = answer.rsplit("####", 1)[1]
    elif "\\boxed" in answer or "\\fbox" in answer:
        gold = last_boxed(answer)
    else:
        gold = None if _is_prose(answer) else answer
    if not gold or not re.search(r"\w", normalized(gold)) or _names_none(gold):
        raise ValueError(
            f"no final answer in {answer[-60:]!r}; expected after ####, in \\boxed{{}}, or alone"
        )
    return gold.strip()


def given_answer(text: str) -> str | None:
    """Return the last answer that a completion gives; None if it gives none."""
    marks = list(MARKS.finditer(text)) or list(WEAK_MARKS.finditer(text))
    if not marks:
        return None if WORDS.search(text) else text.strip()
    rest = text[marks[-1].start() :]
    if rest.startswith(("\\boxed", "\\fbox")):
        return last_boxed(text)
    rest = HOPE.split(text[marks[-1].end() :], maxsplit=1)[0].lstrip(': *\n"`')
    return DELIMITERS.sub("$", _value_in(rest))


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last \boxed{...}, braces balanced; None if there is none.

    Boxes of one list, as in \boxed{1} and \boxed{2}, are returned with commas between them, and
    those that equal the last one only once, as in \boxed{3/2} or \boxed{1.5}.
    """
    boxes = list(BOX.finditer(text))
    if not boxes:
        return None
    values = [_content(text, boxes[-1])[0]]
    for box, following in zip(boxes[-2::-1], boxes[:0:-1], strict=True):
        content, end = _content(text, box)
        between = text[end : following.start()]
        if content is None or not JOINS.search(between) or not LIST_SIGNS.fullmatch(between):
            break
        values.append(content)
    last, *others = values
    if last is None:
        return None
    same = same_answer if len(values) <= MAX_COMPARED_BOXES else str.__eq__
    known = [value for value in reversed(others) if value is not None and not same(last, value)]
    return ", ".join([*dict.fromkeys(known), last])


def _content(text: str, box: re.Match[str]) -> tuple[str | None, int]:
    """Return what a box holds and the place after it; None if the box is not closed."""
    if box[1] != "{":
        return box[1], box.end()
    depth = 0
    for place in range(box.end() - 1, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[box.end() : place].strip(), place + 1
    return None, len(text)


def _value_in(rest: str) -> str:
    """Return the value in what follows a mark; the whole sentence if it may give several."""
    formulas = FORMULAS.match(rest)
    end = formulas.end() if formulas else 0
    sentence = rest[:end] + SENTENCE_ENDS.split(rest[end:], maxsplit=1)[0].rstrip()
    if formulas:
        return formulas[0] if _only_explains(sentence[end:]) else sentence
    if not WORDS.match(sentence):
        return sentence
    *_, verb = [None, *VERB.finditer(sentence)]
    start = verb.end() if verb and VALUE.search(sentence, verb.end()) else 0
    if start and _gives_values(sentence[:start]):
        return sentence
    found = []
    for formula in FORMULAS.finditer(rest, start):
        between = rest[len(sentence) : formula.start()]
        if formula.start() >= len(sentence) and (between.strip() or not LEADS.search(sentence)):
            break
        found.append(formula)
    values = [formula for formula in found if not NAME.fullmatch(formula[0])] or found
    if len(values) != 1:
        return sentence[start:]
    after = SENTENCE_ENDS.split(rest[values[0].end() :], maxsplit=1)[0]
    return values[0][0] if _only_explains(after) else sentence[start:]


def _gives_values(head: str) -> bool:
    """Return whether the words up to "is" give a value of their own: "perhaps 7, or it is" 8."""
    outside = FORMULAS.sub(lambda m: "" if NAME.fullmatch(m[0]) else "0", head)
    return bool(VALUE.search(outside) and OFFERS.search(outside))


def _only_explains(tail: str) -> bool:
    """Return whether what follows a value gives no other: a unit, or "since $x = 3$"."""
    if LETTER.match(tail) or CASES.search(tail):
        return False
    second = VALUE.search(tail)
    if not second:
        return not SECOND_WORDS.match(tail.lstrip(" ,("))
    before = tail[: second.start()]
    return bool(EXPLAINS.search(before)) and not ADDS.search(before) and not HEDGES.search(tail)


def _is_prose(answer: str) -> bool:
    """Return whether the text is too long or too wordy for an answer that stands alone."""
    num_words = len(WORDS.findall(answer))
    limit = MAX_GOLD_WORDS if MATHEMATICS.search(answer) else MAX_GOLD_WORDS_ALONE
    return bool(PROSE.search(answer.strip())) or num_words > limit


def _names_none(gold: str) -> bool:
    """Return whether a gold answer says that there is none."""
    text = plain(gold) if gold.startswith("\\") else gold
    return bool(MISSING.fullmatch(text) or (DOUBTS.search(text) and not re.search(r"\d", text)))
