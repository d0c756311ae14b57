from score_ray.reporting.palette import (
    HATCHES,
    LINES,
    MARKERS,
    PHASE_HATCHES,
    PHASES,
    SERIES,
)


def test_every_series_differs_in_colour_line_marker_and_hatch():
    for styles in (SERIES, LINES, MARKERS, HATCHES):
        assert len(set(styles)) == len(styles) == len(SERIES)


def test_every_phase_differs_in_colour_and_has_a_hatch():
    assert len(set(PHASES.values())) == len(PHASES)
    assert PHASES.keys() == PHASE_HATCHES.keys()
