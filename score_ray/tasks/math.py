r"""Mathematics problems with a final answer, compared by math-verify.

A completion gives its answer in the paper's final sentence, in \boxed{} or after ####. The last
of these counts; a number in an intermediate step does not. An answer with the same text as the
gold answer is correct; others are parsed and compared as mathematics. Units, percent signs and
the base of a number may be left out. A wrong base, a value repeated more or less often in a
list, another order in a tuple and another kind of end of an interval are wrong.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from latex2sympy2_extended.sets import FiniteSet
from math_verify import LatexExtractionConfig, parse, verify
from sympy import Expr, UnevaluatedExpr

from score_ray.config.schema import TrainSource
from score_ray.tasks.dataset import Reading, read_questions, sources_of
from score_ray.types import Problem, UnusableRow, Verdict

# The paper's prompt asks for the sentence (arXiv 2409.12917, appendix C).
MARKS = re.compile(r"final answer is|####|\\boxed|\\fbox", re.I)
WEAK_MARKS = re.compile(r"\banswer(?: is|\**:)", re.I)  # used if there are no MARKS
HOPE = re.compile(r"I hope it is correct", re.I)
SENTENCE_ENDS = re.compile(r"\n|\.(?=\s|\**$)")
FORMULA = r"(?:\$\$(?:\\.|[^$\\])+\$\$|\$(?:\\.|[^$\\])+\$|\\\(.+?\\\)|\\\[.+?\\\])"
FORMULAS = re.compile(rf"{FORMULA}(?:\s*(?:,|,?\s*and|,?\s*or)\s*{FORMULA})*", re.S)
DELIMITERS = re.compile(r"(?<!\\)\\[()\[\]]")
WORDS = re.compile(r"(?<!\\)\b[A-Za-z]{2,}")
PROSE = re.compile(r"[a-z]{2}[.!?]\s+[A-Z]|\n\s*\n")

SPELLINGS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"\\phantom\s*(?:\{[^}]*\}|.)|(?<!\\)\\!|\\?\$|\*\*", ""),
        (r"(?<!\\)\\[,;: ]|~|\\q?quad", " "),
        (r"\{,\}", ","),
        (r"°|\\degree\b", r"^\\circ "),
        (r"\\varnothing", r"\\emptyset"),
        (r"\\([dt]?)frac\s*(\\[a-z]+|\d)\s*(\d)", r"\\frac{\2}{\3}"),
        (r"(?<=\d) (?=\d{3}(?: \d{3})*(?:\.\d+)?$)", ""),  # 12 345
        (r"^(-?\d+)\s+(\d+)\s*/\s*(\d+)$", r"\1\\frac{\2}{\3}"),
        # Drops a unit in words: "18 dollars", but not "5 million" or "5 or more".
        (
            r"^([-+]?[\d.,/]+)\s+(?!(?:and|or|to|hundred|thousand|dozen|score)\b|\w*illion)"
            r"[a-z][a-z. ]+$",
            r"\1",
        ),
        (r"^\\(?:text|mbox)\{([^{}]*(?:,| and )[^{}]*)\}$", r"\1"),
    ]
]
WRAPPERS = re.compile(r"\\(?:text(?:bf|it|rm)?|mbox|math(?:rm|bf))\s*\{([^{}]*)\}")
SPACES = re.compile(r"\s|\\left|\\right")
THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
FRACTION_SIZE = re.compile(r"(?<=\\)[dt](?=frac)")  # the d of \dfrac, the t of \tfrac
BASE = re.compile(r"(-?[0-9A-Z]*\d[0-9A-Z]*)_\{?(\d+)\}?")
# math-verify reads "3 4" as 7, and ABC as a product whose factors may change places.
ONLY_AS_TEXT = re.compile(r"[-\d\s.,]*\d\s+\d[-\d\s.,]*|[A-Z]{3,}")
SMALL = 1e-3  # numbers up to this are compared by their relative difference
MAX_GOLD_WORDS = 10  # in a gold answer without a mark
MAX_ANSWER = 1000  # characters of an answer that is compared as text

# math_verify would warn in every process that its time-out is off, which is intended: see _parse.
logging.getLogger("math_verify").setLevel(logging.ERROR)


@dataclass(frozen=True)
class MathAnswers:
    """Problems from a question and an answer column, which may hold worked solutions.

    The fields are the keys of the same names in a config's `task` section.
    """

    train: str | tuple[TrainSource, ...]
    test: str
    question_column: str = "question"
    answer_column: str = "answer"
    question: str = ""
    skip_unusable: bool = False

    def problems(self, split: str) -> Sequence[Problem]:
        """Return the usable problems of the train or test split.

        Raises ValueError if a row has no gold answer and task.skip_unusable is not set.
        """
        return _read(self, split).problems

    def unusable(self, split: str) -> Sequence[UnusableRow]:
        """Return the rows that `problems` left out."""
        return _read(self, split).unusable

    def grade(self, problem: Problem, text: str) -> Verdict:
        """Return the verdict on the last final answer in the text."""
        gold, given = gold_answer(problem.answer), given_answer(text)
        if not given or not normalized(given):
            return Verdict.NO_ANSWER
        return Verdict.CORRECT if same_answer(gold, given) else Verdict.WRONG

    def answer(self, text: str) -> str:
        """Return the last final answer, normalized; equal values in other forms stay different."""
        answer = _plain(normalized((given_answer(text) or "")[:MAX_ANSWER]))
        return (
            answer.replace(",", "")
            if THOUSANDS.fullmatch(answer)
            else FRACTION_SIZE.sub("", answer)
        )


@cache
def _read(task: MathAnswers, split: str) -> Reading:
    given = task.train if split == "train" else task.test
    sources = sources_of(given, task.question, task.question_column, task.answer_column)
    return read_questions(sources, split, task.skip_unusable, gold_answer)


def gold_answer(answer: str) -> str:
    """Return the answer in a solution: after ####, else in the last box, else all of it.

    Raises ValueError if that is empty, or prose: an error in the data must not count as a wrong
    answer of the model.
    """
    if "####" in answer:
        gold = answer.rsplit("####", 1)[1]
    elif "\\boxed" in answer or "\\fbox" in answer:
        gold = last_boxed(answer)
    else:
        is_prose = PROSE.search(answer.strip()) or len(WORDS.findall(answer)) > MAX_GOLD_WORDS
        gold = None if is_prose else answer
    if not gold or not normalized(gold):
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
        return last_boxed(rest)
    rest = HOPE.split(text[marks[-1].end() :], maxsplit=1)[0].lstrip(": *\n")
    formulas = FORMULAS.match(rest)
    sentence = SENTENCE_ENDS.split(rest, maxsplit=1)[0].strip()
    if not formulas and WORDS.match(sentence):
        formulas = FORMULAS.search(sentence)
    return DELIMITERS.sub("", formulas[0]) if formulas else sentence


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last \boxed{...}, braces balanced; None if there is none."""
    boxes = list(re.finditer(r"\\(?:boxed|fbox)\s*(\{|[^\s{])", text))
    if not boxes:
        return None
    if boxes[-1][1] != "{":
        return boxes[-1][1]
    depth = 0
    for place in range(boxes[-1].end() - 1, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[boxes[-1].end() : place].strip()
    return None


def same_answer(gold: str, given: str) -> bool:
    """Return whether the given answer equals the gold one, as text or as mathematics."""
    gold, base = _without_base(normalized(gold))
    given, given_base = _without_base(normalized(given))
    if base and given_base and base != given_base:
        return False
    if _plain(gold) == _plain(given):
        return True
    if ONLY_AS_TEXT.fullmatch(gold) or ONLY_AS_TEXT.fullmatch(given):
        return False
    return _same_value(_parse(gold), _parse(given))


def normalized(answer: str) -> str:
    """Return the answer with one spelling for what LaTeX can spell in several ways."""
    answer = answer.strip()
    for pattern, replacement in SPELLINGS:
        answer = pattern.sub(replacement, answer).strip()
    return answer.rstrip(".,;: ")


def _plain(answer: str) -> str:
    """Return the answer without text wrappers and spaces."""
    return SPACES.sub("", WRAPPERS.sub(r"\1", answer)).rstrip(".,;:")


def _without_base(answer: str) -> tuple[str, str]:
    """Return a number and its base, which may be ""; any other answer unchanged."""
    match = BASE.fullmatch(WRAPPERS.sub(r"\1", answer))
    return (match[1], match[2]) if match else (answer, "")


@lru_cache(maxsize=512)
def _parse(answer: str) -> list[Any]:
    # Parsed as one formula only: otherwise math-verify returns the last number in a text that it
    # cannot parse. Its time-out would need a signal; process_grader.py sets a deadline instead.
    no_alarm: Any = {"parsing_timeout": None}
    return parse(f"${answer}$", [LatexExtractionConfig(boxed_match_priority=-1)], **no_alarm)


def _same_value(gold: list[Any], given: list[Any]) -> bool:
    same = verify(gold, given, allow_set_relation_comp=True, timeout_seconds=None)
    lengths = {_num_values(gold[0]), _num_values(given[0])} - {0} if same else set()
    return same and len(lengths) < 2 and _is_close(gold[0], given[0])


def _num_values(answer: Any) -> int:
    """Count the values of a list with repetitions, which the set drops; 1 for one, 0 if unknown."""
    if isinstance(answer, FiniteSet):
        return len(answer._unsorted_args)
    return int(isinstance(answer, Expr))


def _is_close(gold: Any, given: Any) -> bool:
    """Return whether small numbers are equal; math-verify would round them to six decimals."""
    for value in (gold, given):
        if not getattr(value, "is_number", False) or value.has(
            UnevaluatedExpr
        ):  # the latter is a percentage
            return True
    gold, given = gold.evalf(), given.evalf()
    return bool(abs(gold) > SMALL or abs(given - gold) <= 1e-5 * abs(gold) + 1e-60)
