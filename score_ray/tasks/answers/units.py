r"""Takes the unit off an answer: 9 (apples), 60 km/h, 12 m^2, 5\text{ cm}, 18 dollars.

What stands after a number is a unit only if it names no second value: "7 or 8", "7 (8)", "7
million", "7 eight" and "7 pi" stay as they are.
"""

import re

WRAPPED = r"\\(?:text(?:normal|bf|it|rm)?|mbox|math(?:rm|bf|it|sf))\s*\{[^{}]*\}"
POWER_OF_WORD = r"(?:\^\{?-?[1-9]\}?)?"  # needs its sign: "or8" is no unit
POWER = r"(?:\^\{?-?[1-9]\}?|-?[1-3])?"
# Letters that stand for a unit even directly after a number, and those that need a space, since
# 5m and 12s^2 may be products.
SYMBOLS = (
    "km|cm|mm|dm|nm|kg|mg|lbs?|oz|ft|yd|mi|mL|ml|dL|cL|kW|kWh|MW|kJ|kN|kPa|MPa|kHz|MHz|GHz|Hz|"
    "mol|mph|kmph|kph|rpm|hrs?|min|mins|sec|secs|ms|ha|Pa|eV|rad|sr|deg|degrees?|sq|cu|°|"
    r"\\mu ?[mgsl]|\^\\circ|\^\\circ ?[CFK]|\^\{\\circ\} ?[CFK]"
)
LETTERS = "m|g|s|h|L|l|N|J|W|V|A|K|C|F|in"
UNIT = rf"(?:{SYMBOLS}|{LETTERS}){POWER}"
ATTACHED = re.compile(rf"(?:{SYMBOLS}){POWER}(?:\s*(?:/|\*|·|\\cdot)\s*{UNIT})*\.?")
SPACED = re.compile(rf"{UNIT}(?:\s*(?:/|\*|·|\\cdot|per\b|\s)\s*{UNIT})*\.?")
WORDS = re.compile(
    rf"[a-z][a-z.'-]*(?:(?:\s+|\s*/\s*)[a-z][a-z.'-]*)*{POWER_OF_WORD}(?:\s+[a-z]+)?", re.I
)
# Words that count, combine or deny: what they stand in is a second value or a calculation.
VALUES = re.compile(
    r"\b(?:or|and|nor|but|not|to|than|either|maybe|perhaps|possibly|versus|vs|else|otherwise|plus|"
    r"minus|times|over|squared|cubed|factorial|mod|modulo|root|sqrt|pi|infinity|half|halves|thirds?|"
    r"quarters?|point|sin|cos|tan|log|ln|exp|alpha|beta|theta|hundreds?|thousands?|\w*illions?|"
    r"dozens?|scores?|lakhs?|crores?|[ap]\.?m\b|o'clock|"
    r"(?<!the )(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|"
    r"(?:twen|thir|for|fif|six|seven|eigh|nine)ty))\b",
    re.I,
)
FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc|log|ln|exp|lim|det)\b[^a-z]*", re.I)
NAME = r"(?:\\?[A-Za-z]\w*\s*=\s*)?"
# A value that ends with a digit, a closed group, a percent sign, a degree sign or pi.
VALUE = rf"{NAME}(?:[^A-Za-z\\]|\\[A-Za-z]+|\\.)*(?:[\d}})%]|\d\.|\\pi|\\circ)"
IN_WRAPPERS = re.compile(rf"(.*?[\w}})%.])((?:\s|/|\\cdot|{WRAPPED}{POWER})+)", re.S)
IN_BRACKETS = re.compile(rf"({VALUE})\s+\(([A-Za-z][^()\d]*)\)")
BEHIND = re.compile(rf"({VALUE})(\s*)([A-Za-z°\\^].*)", re.S)
# 5元, 12平方米 and 60公里/小时, but not 7或8, 5万 (10^4) or 5个半 (and a half).
IN_CHINESE = re.compile(rf"({VALUE})\s*([\u4e00-\u9fff]{{1,4}}(?:/[\u4e00-\u9fff]{{1,3}})?)", re.S)
CHINESE_VALUES = re.compile(
    "[或和与及且并到至不非无又零〇一二两三四五六七八九十百千万亿兆半多余几成折]"
)
COMMAND = re.compile(r"\\(?:text(?:normal|bf|it|rm)?|mbox|math(?:rm|bf|it|sf))\s*\{([^{}]*)\}")


def without_unit(answer: str, beside_number: bool = False) -> str:
    """Return the answer without the unit at its end; unchanged if there is none.

    Beside a number as the other answer, 5m is 5 metres; otherwise it may be a product.
    """
    if not (answer and answer[-1] in "})°.'") and not answer[-1:].isalnum():
        return answer
    if not answer.isascii() and (match := IN_CHINESE.fullmatch(answer)):
        found = not CHINESE_VALUES.search(match[2])
    elif match := IN_WRAPPERS.fullmatch(answer):
        unit = COMMAND.sub(r"\1", match[2]).strip().removeprefix("(").removesuffix(")").strip()
        has_value = re.search(r"[\dA-Za-z]", COMMAND.sub("", match[1]))
        found = has_value and (SPACED.fullmatch(unit) or _in_words(unit, 2, SPACED))
    elif match := IN_BRACKETS.fullmatch(answer):
        found = SPACED.fullmatch(match[2]) or _in_words(match[2], 3, SPACED)
    elif (match := BEHIND.fullmatch(answer)) and not FUNCTION.fullmatch(match[1]):
        symbols = SPACED if match[2] or beside_number else ATTACHED
        found = symbols.fullmatch(match[3]) or _in_words(match[3], 3 if match[2] else 4, symbols)
    else:
        return answer
    return match[1].strip() if found else answer


def _in_words(unit: str, shortest: int, symbols: re.Pattern[str]) -> bool:
    """Return whether a unit is in words, of which the first is long enough or a symbol."""
    if not WORDS.fullmatch(unit) or VALUES.search(unit):
        return False
    first = re.split(r"[\s/^]", unit)[0]
    return len(first) >= shortest or bool(symbols.fullmatch(first))
