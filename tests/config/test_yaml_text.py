import pytest

from score_ray.config.yaml_text import read_yaml, write_yaml


def refusal(text: str, key: str = "") -> str:
    with pytest.raises(ValueError, match=".") as caught:
        read_yaml(text, key)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 1\n", "a is given twice, in lines 1 and 3; keep one"),
        ("rollout:\n  samples: 4\n  'samples': 8\n", "rollout.samples is given twice"),
        ("stages:\n- name: x\n  kl: [0]\n  kl: [1]\n", "stages.0.kl is given twice, in lines 3"),
        ("{a: {b: {c: 1, c: 2}}}", "a.b.c is given twice, in line 1"),
        ("1: a\n'1': b\n", "1 is given twice"),
        ("base: &b {x: 1, x: 2}\nmore: *b\n", "base.x is given twice"),
    ],
)
def test_a_key_that_is_given_twice_is_named_with_its_lines(text, message):
    assert message in refusal(text)


def test_a_key_given_twice_in_the_value_of_a_key_is_named_whole():
    assert refusal("[{a: 1, a: 2}]", "stages").startswith("stages.0.a is given twice")


def test_anchors_and_merged_keys_go_on_working():
    text = (
        "one: &one {iterations: 3, kl: [0, 1]}\n"
        "two: &two\n  <<: *one\n  iterations: 5\n"
        "three:\n  <<: [*two, *one]\n  kl: [2]\n"
        "four:\n  - <<: *two\n"
    )
    assert read_yaml(text) == {
        "one": {"iterations": 3, "kl": [0, 1]},
        "two": {"iterations": 5, "kl": [0, 1]},
        "three": {"iterations": 5, "kl": [2]},
        "four": [{"iterations": 5, "kl": [0, 1]}],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "line 1: expected the node content"),
        ("a:\n\tb: 1\n", "line 2: a tab at the beginning of a value; indent with spaces"),
        ("a: b: c", "mapping values are not allowed here"),
        ("a: \x07", "special characters are not allowed"),
        ("a: 1\n---\nb: 2\n", "line 2: but found another document"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: *b", "undefined alias 'b'"),
        ("? [a]\n: 1\n", "line 1: a key has to be a text"),
        ("a: &a [*a]", "line 1: an alias to a part that contains it"),
        ("a: &a {b: {c: *a}}", "an alias to a part that contains it"),
        ("[" * 5000, "nested too deep"),
    ],
)
def test_what_is_not_valid_is_one_line(text, message):
    assert message in refusal(text)


def test_aliases_that_grow_without_bounds_are_refused_before_they_are_followed():
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 40)]
    assert "more than 100,000 values" in refusal("\n".join(rows))


@pytest.mark.parametrize("text", ["2024-03-05", "2001-12-14 21:59:43.10 -5"])
def test_dates_are_text_as_they_stand(text):
    assert read_yaml(f"name: {text}") == {"name": text}


@pytest.mark.parametrize(
    "value",
    [
        "no",
        "1",
        "1e-6",
        "2024-03-05",
        "a: b",
        "x #1",
        " x ",
        "",
        "null",
        "'q'",
        "a\nb",
        "ö😀",
        "\\n",
    ],
)
def test_a_text_is_the_same_text_after_it_was_written(value):
    assert read_yaml(write_yaml({"a": [value]})) == {"a": [value]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10), ("+3", 3), ("-0", 0), ("1_000", 1000), ("0x1F", 31), (".5", 0.5), ("+.5", 0.5),
        ("5.", 5.0), (".5e3", 500.0), ("1.5E+3", 1500.0), ("1e-6", 1e-6), ("-.inf", float("-inf")),
    ],
)  # fmt: skip
def test_numbers_are_read_as_decimal(text, value):
    assert read_yaml(text) == value


@pytest.mark.parametrize(
    "text", ["010", "-017", "007", "1:30", "6:00", "190:20:30.5", "0b11", "1__0", "1_", "1e", "٣"]
)
def test_what_another_reader_takes_for_a_number_in_another_base_is_text_as_it_stands(text):
    assert read_yaml(text) == text
    assert read_yaml(write_yaml({text: text})) == {text: text}
