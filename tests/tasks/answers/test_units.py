import pytest

from score_ray.tasks.answers.units import without_unit


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("9 (apples)", "9"),
        ("75 kg*m/s^2", "75"),
        ("10^{-3} m", "10^{-3}"),
        (r"90^\circ C", r"90^\circ"),
        (r"12\sqrt{13}\text{ feet}", r"12\sqrt{13}"),
        (r"164 \pi \mbox{ square feet}", r"164 \pi"),
        ("x = 7 cm", "x = 7"),
        ("12 km per hour", "12"),
        ("4 ft.", "4"),
        ("5days", "5"),
    ],
)
def test_a_unit_is_taken_off(answer, value):
    assert without_unit(answer) == value


@pytest.mark.parametrize(
    "answer",
    ["7", "5m", "12m^2", "7x", "7 x", "7 i", "f(x)", "3 (ab)", r"\sin^2 t", r"2\sin s", "7 or 8",
     "7 (eight)", "3 years and 2 months", "2 x 3 feet", r"\text{Monday} \text{Tuesday}", "5 a.m.",
     "7 half", r"7\text{M}"],
)  # fmt: skip
def test_what_is_no_unit_stays(answer):
    assert without_unit(answer) == answer


def test_a_letter_after_a_number_is_a_unit_only_beside_a_number():
    assert without_unit("5m", beside_number=True) == "5"
    assert without_unit("5x", beside_number=True) == "5x"
