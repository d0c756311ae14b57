"""The colours of all figures and pages, and the patterns that replace them in a grey print.

The colours are Okabe and Ito's palette, which stays readable with every common kind of colour
blindness.
"""

from typing import Any

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, YELLOW, GREY = "#E69F00", "#56B4E9", "#F0E442", "#999999"

# Text and background, of pages and of the figures on them.
INK, PAPER = {"light": "#1b1b1b", "dark": "#e4e4e4"}, {"light": "#ffffff", "dark": "#161616"}
MUTED = "#888888"  # for baselines: base models, ideal lines

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
# Colours of several series in one figure. Yellow is left out: it is invisible on light paper.
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY)
DASHED: Any = (0, (5, 1))
LINES: tuple[Any, ...] = ("-", DASHED, (0, (3, 1, 1, 1)), (0, (1, 0.6)), "--", "-.", (0, (8, 2)))
MARKERS = "oDs^vPX"
HATCHES = ("", "//", "\\\\", "xx", "..", "--", "++")
