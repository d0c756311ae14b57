r"""Writes in LaTeX what an answer writes in signs of its own: ½, √2, x², 10⁻³, ×, ≤."""

# The signs in this file are meant to look like others.
# ruff: noqa: RUF001

import re
import unicodedata

LETTERS = "alpha beta gamma delta epsilon theta lambda mu pi rho sigma tau phi omega"
SIGNS = {
    "−": "-", "–": "-", "‐": "-", "‑": "-", "‒": "-", "﹣": "-", "－": "-",
    "×": r"\times ", "✕": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ",
    "÷": r"\div ", "±": r"\pm ", "∓": r"\mp ", "⁄": "/", "∕": "/",
    "≤": r"\le ", "⩽": r"\le ", "≦": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≧": r"\ge ",
    "≠": r"\neq ", "≈": r"\approx ", "≃": r"\approx ", "≅": r"\cong ", "≡": r"\equiv ",
    "∞": r"\infty ", "∅": r"\emptyset ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ",
    "∠": r"\angle ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}",
    "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "→": r"\to ", "⇒": r"\Rightarrow ",
    "°": r"^\circ ", "º": r"^\circ ", "′": "'", "″": '"', "…": r"\ldots ",
    "℃": r"^\circ C", "℉": r"^\circ F", "‰": r"\text{per mille}",
    "。": ".", "、": ",", "【": "[", "】": "]", "｛": r"\{", "｝": r"\}",
    "“": '"', "”": '"', "‘": "'", "’": "'", "\u200b": "", "\u2062": "", "\ufeff": "",
    **{unicodedata.lookup(f"GREEK SMALL LETTER {'LAMDA' if n == 'lambda' else n.upper()}"):
       f"\\{n} " for n in LETTERS.split()},
}  # fmt: skip
TABLE = str.maketrans(SIGNS)
MAX_ROOTS = 20
ROOTS = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}
RADICAND = re.compile(r"(?:\d+(?:\.\d+)?|[A-Za-z]|\\[A-Za-z]+(?:\[\d\])?)?")
# One digit or sign of a power: the "super" forms of 0 to 9, +, -, ( ), i and n.
RAISED = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁱⁿ]+")
LOWERED = re.compile(r"[₀₁₂₃₄₅₆₇₈₉₊₋]+")
FRACTION = re.compile(r"[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒]")


def in_latex(text: str) -> str:
    """Return the text with LaTeX commands and ASCII in place of other mathematical signs.

    Only the last MAX_ROOTS root signs are written out, since each takes time in proportion to
    what follows it.
    """
    if text.isascii():
        return text
    text = FRACTION.sub(lambda m: r"\frac{{{}}}{{{}}}".format(*_plain(m[0]).split("⁄")), text)
    text = RAISED.sub(lambda m: f"^{{{_plain(m[0])}}}", text)
    text = LOWERED.sub(lambda m: f"_{{{_plain(m[0])}}}", text)
    text = unicodedata.normalize("NFKC", text.translate(TABLE)).translate(TABLE)
    return _roots(text)


def _plain(signs: str) -> str:
    return unicodedata.normalize("NFKC", signs).replace("−", "-")


def _roots(text: str) -> str:
    r"""Write √2, √x, √(x+1) and √√2 as \sqrt{...}, the last root first."""
    for _ in range(MAX_ROOTS):
        if (place := max(map(text.rfind, ROOTS))) < 0:
            break
        rest = text[place + 1 :].lstrip()
        end = RADICAND.match(rest).end()  # pyright: ignore[reportOptionalMemberAccess]
        if rest.startswith("\\"):
            while (close := _end_of_group(rest, end, "{")) > end:
                end = close
        radicand = rest[:end]
        if not end and (end := _end_of_group(rest, 0, "({")):
            radicand = rest[1 : end - 1]
        text = f"{text[:place]}{ROOTS[text[place]]}{{{radicand}}}{rest[end:]}"
    return text


def _end_of_group(text: str, start: int, brackets: str) -> int:
    """Return the place after the group that starts there; the start itself if none does."""
    if text[start : start + 1] not in [*brackets]:
        return start
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place + 1
    return start
