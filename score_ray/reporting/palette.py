"""Every colour of the figures and pages, and the patterns that stand in for it in a grey print.

The colours are Okabe and Ito's palette, which stays readable with every common kind of colour
blindness.
"""

from typing import Any

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, YELLOW, GREY = "#E69F00", "#56B4E9", "#F0E442", "#999999"

# Of pages and of the figures on them.
INK, PAPER = {"light": "#1b1b1b", "dark": "#e4e4e4"}, {"light": "#ffffff", "dark": "#161616"}
MUTED = "#888888"  # what others are compared with: base models, ideals

ATTEMPTS = (BLUE, VERMILION)
FLIPS = {"i_to_c": GREEN, "c_to_i": VERMILION}
PHASES = {
    "rollout": BLUE,
    "reference": SKY,
    "update": VERMILION,
    "broadcast": YELLOW,
    "driver": GREY,
}
PHASE_HATCHES = {
    "rollout": "",
    "reference": "//",
    "update": "",
    "broadcast": "\\\\",
    "driver": "xx",
}
# Series side by side. Yellow is missing: it cannot be seen on light paper.
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY)
DASHED: Any = (0, (5, 1))
LINES: tuple[Any, ...] = ("-", DASHED, (0, (3, 1, 1, 1)), (0, (1, 0.6)), "--", "-.", (0, (8, 2)))
MARKERS = "oDs^vPX"
HATCHES = ("", "//", "\\\\", "xx", "..", "--", "++")
