# The signs in this file are meant to look like others.
# ruff: noqa: RUF001

import time

import pytest

from score_ray.tasks.answers.signs import in_latex


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("x + 1", "x + 1"),
        ("3½", r"3\frac{1}{2}"),
        ("√½", r"\sqrt{\frac{1}{2}}"),
        ("√12x", r"\sqrt{12}x"),
        ("√(2+√3)", r"\sqrt{2+\sqrt{3}}"),
        ("√√2", r"\sqrt{\sqrt{2}}"),
        ("∛x", r"\sqrt[3]{x}"),
        ("√(", r"\sqrt{}("),
        ("10⁻³", "10^{-3}"),
        ("x₁", "x_{1}"),
        ("５％", "5%"),
        ("−1–2", "-1-2"),
        ("【1，2】", "[1,2]"),
    ],
)
def test_signs_are_written_in_latex(text, latex):
    assert in_latex(text) == latex


@pytest.mark.parametrize("sign", ["√", "√(", "½", "²", "×"])
def test_a_thousand_signs_are_read_in_a_moment(sign):
    began = time.process_time()
    in_latex(sign * 1000)
    assert time.process_time() - began < 0.5
