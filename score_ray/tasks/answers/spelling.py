"""Gives an answer one spelling for what can be written in several ways."""

import re
from functools import lru_cache

from score_ray.tasks.answers.signs import in_latex
from score_ray.tasks.answers.units import without_unit

DIGITS = r"\d+(?:,\d{3})*(?:\.\d+)?|\.\d+"
SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
CODES = "USD|US|EUR|GBP|JPY|CNY|RMB|INR|CAD|AUD|CHF|Rs"
SPELLINGS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r",\s*\\!\s*(?=\d{3}(?!\d))", ","),
        (r"\b(?:US|CA|AU|NZ|HK)\s*(?=\\?\$)", ""),
        (r"\\phantom\s*(?:\{[^}]*\}|.)|(?<!\\)\\!|\\?\$|\*\*|`|\\?\"", ""),
        (r"\\(?:pounds\b|euro\b|text(?:euro|sterling|yen)\b)|[€£¥₹₩₽₺₫฿₪¢]", ""),
        (r"\\textnormal\b", r"\\text"),
        (r"(?<!\\)\\[,;: ]|~|\\q?quad", " "),
        (r"\{\s*,\s*\}", ","),
        (r"\\degree\b", r"^\\circ "),
        (r"\^\s*(?:\\circ|\{\s*\\circ\s*\})\s*(?:[CF]|\\(?:text|mathrm)\{[CF]\})$", r"^\\circ "),
        (r"\\varnothing", r"\\emptyset"),
        (r"\\([dt]?)frac\s*(\\[a-z]+|\d)\s*(\d)", r"\\frac{\2}{\3}"),
        (r"(?<=\d) (?=\d{3}(?: \d{3})*(?:\.\d+)?$)", ""),  # 12 345
        (r"^(-?\d+)\s+(\d+)\s*/\s*(\d+)$", r"\1\\frac{\2}{\3}"),
        # Words around a value that leave it as it is.
        (r"^(?i:about|approximately|approx\.?|around|roughly|exactly|only|circa|ca\.)\s+", ""),
        (r"^(?:大约|约为?)\s*", ""),
        (r"^\\(?:text|mbox)\{\s*(?i:about|approximately|around|roughly|exactly)\s*\}\s*", ""),
        (r"^\\(?:thick)?approx\s*|^\\simeq\s*|^\\sim\s*", ""),
        (r"\s*\(?\b(?i:approximately|approx\.?|roughly)\)?$", ""),
        (rf"^(-?)\s*(?:{CODES})\b\.?\s*(?=[-\d.\\])", r"\1"),
        # 3.83e35, 3.83 x 10^35 and 3.83*10^35
        (rf"(?<![\w.^{{\\])({DIGITS})[eE]([-+]?)0*(\d+)(?![\w.^])", r"\1\\times 10^{\2\3}"),
        (r"(?<=\d)\s*(?:[xX]|\*|\\cdot|\\times)\s*10\s*(?:\^|\*\*)\s*", r"\\times 10^"),
        (r"\^\s*(?:\{\s*\+?\s*(-?\d+)\s*\}|\(\s*(-?\d+)\s*\)|\+?(-?\d+)(?![\d.]))",
         r"^{\1\2\3}"),
        (r"\^\{\+", "^{"),
        (r"(?<=[\d}])\s*(?:\\(?:text|mbox)\{\s*)?\b(?i:percent(?:age)?|per cent|pct)\b\}?$", "%"),
        (r"(?<=\d)(?:\s*\^)?\s*(?:st|nd|rd|th|\{(?:\\text\{)?(?:st|nd|rd|th)\}{1,2}"
         r"|\\(?:text|mathrm)\{(?:st|nd|rd|th)\})$", ""),
        *[(rf"(?<=[\d}}])\s*(?:\\(?:text|mbox)\{{\s*{word}\b\s*([^{{}}]*)\}}|\b{word}\b(.*))$",
           rf"\\times 10^{{{power}}} \1\2") for word, power in SCALES.items()],
        (r"^\\(?:text|mbox)\{([^{}]*(?:,| and )[^{}]*)\}$", r"\1"),
    ]
]  # fmt: skip
WRAPPERS = re.compile(r"\\(?:text(?:bf|it|rm)?|mbox|math(?:rm|bf))\s*\{([^{}]*)\}")
SPACES = re.compile(r"\s|\\left(?![a-z])|\\right(?![a-z])")


def normalized(answer: str) -> str:
    """Return the answer without its unit, with one spelling for what can be written in several."""
    return without_unit(spelled(answer)).rstrip(".,;: ")


@lru_cache(maxsize=512)
def spelled(answer: str) -> str:
    """Return the answer with one spelling, and with its unit."""
    answer = in_latex(answer).strip().rstrip(".,;: ")
    for pattern, replacement in SPELLINGS:
        answer = pattern.sub(replacement, answer).strip()
    return answer.rstrip(".,;: ")


def plain(answer: str) -> str:
    """Return the answer without text wrappers and spaces."""
    return SPACES.sub("", WRAPPERS.sub(r"\1", answer)).rstrip(".,;:")
