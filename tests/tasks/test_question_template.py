import pytest

from score_ray.tasks.question_template import one_column, parse_template

ROW = {"Body": "Two apples.", "Question": "How many?", "a:b!c": "x", "n": {"m": ["y"]}, "a b": 7}


@pytest.mark.parametrize(
    ("template", "question", "columns"),
    [
        ("{Body} {Question}", "Two apples. How many?", ("Body", "Question")),
        ("{{Body}} {Question}!", "{Body} How many?!", ("Question",)),
        ("{n.m.0}{a b}", "y7", ("n.m.0", "a b")),
        ("{a:b!c}", "x", ("a:b!c",)),
        ("\\frac{{1}}{{2}} of\n{Body}", "\\frac{1}{2} of\nTwo apples.", ("Body",)),
        ("{Body}{Body}", "Two apples.Two apples.", ("Body", "Body")),
    ],
)
def test_columns_in_braces_are_replaced(template, question, columns):
    parsed = parse_template(template)
    assert (parsed.question(ROW), parsed.columns) == (question, columns)


def test_the_text_of_a_column_is_no_template():
    assert parse_template("{q} {r}").question({"q": "{r}", "r": "{{"}) == "{r} {{"
    assert one_column("q{").question({"q{": "{r}"}) == "{r}"


@pytest.mark.parametrize(
    "template", ["{Body", "Body}", "What is it?", "{}", "{Body} {}", "{{Body}}"]
)
def test_a_template_that_is_malformed_or_names_no_column_is_an_error(template):
    with pytest.raises(ValueError, match=r"^task\.question: "):
        parse_template(template)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"Body": "x"}, "column 'Question' is missing"),
        ({"Body": None, "Question": "x"}, "column 'Body' is missing"),
        ({"Body": " ", "Question": "x"}, "column 'Body' is empty"),
        ({"Body": float("nan"), "Question": "x"}, "column 'Body' is NaN"),
        ({"Body": ["x"], "Question": "x"}, "column 'Body' holds a list"),
    ],
)
def test_every_column_of_the_template_needs_a_text(row, reason):
    with pytest.raises(ValueError, match=reason):
        parse_template("{Body} {Question}").question(row)
