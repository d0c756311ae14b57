import ast

import pytest

from score_ray.tasks.program_extraction import PARSED_PER_CHARACTER, extract

F = "def f(x):\n    return x + 1\n"
WRONG_F = "def f(x):\n    return x\n"
G = "def g():\n    return 2\n"
HEADER = (
    "from typing import List\n\n\ndef double(x):\n    return 2 * x\n\n\n"
    'def f(x: int) -> int:\n    """Add 1.\n    >>> f(1)\n    2\n    """\n'
)
BODY = "    y = x + 1\n    return y\n"


def result(program: str):
    """Return f(1) as the program defines f."""
    names: dict = {"__name__": "__main__"}
    exec(program, names)
    return names["f"](1)


COMPLETIONS = {
    "bare": F,
    "bare without a last line break": F.rstrip(),
    "bare with windows line breaks": F.replace("\n", "\r\n"),
    "bare after a space": f" {F}\nIt adds 1, doesn't it?",
    "bare after a word": f"Sure\n{F}",
    "bare with imports before": f"import math\nfrom os import path\n\n{F}",
    "bare with a constant before": f"STEP = 1\n{F.replace('1', 'STEP')}",
    "bare with a helper after": "def f(x):\n    return g() * x\n\n" + G,
    "bare with a constant after": "def f(x):\n    return TABLE[x]\n\nTABLE = {1: 2}\n",
    "bare and async helper": f"async def g():\n    pass\n\n{F}",
    "a lambda": "f = lambda x: x + 1\n",
    "decorated": "def more(g):\n    return lambda x: g(x) + 1\n\n@more\n" + WRONG_F,
    "done": f"{F}[DONE]",
    "done, then the next task": f"{F}[DONE]\n\nYou are an expert\n[BEGIN]\n{WRONG_F}[DONE]",
    "begin and done": f"[BEGIN]\n{F}[DONE]\n",
    "prose, begin, done, prose": f"Sure:\n[BEGIN]\n{F}[DONE]\nIt adds 1.",
    "code, then begin and done": f"{WRONG_F}\nNo, that's wrong.\n[BEGIN]\n{F}[DONE]",
    "fence between markers": f"[BEGIN]\n```python\n{F}```\n[DONE]",
    "code, then prose": f"{F}\nThis function adds 1. It doesn't do more.\n",
    "code, then a word": f"{F}\nDone\n",
    "code, then a wrong assert": f"{F}\nassert f(1) == 3\n",
    "code, then a crash": f"{F}\nprint(f('a'))\n",
    "code, then input": f"{F}\nn = int(input())\nprint(f(n))\n",
    "code, then a main block": f"{F}\nif __name__ == '__main__':\n    raise SystemExit(1)\n",
    "code, then a cut function": f"{F}\ndef test_f():\n    assert f(1) == (",
    "prose, then code": f"Here's the function:\n\n{F}",
    "prose, code, prose": f"From the task, we see:\n\n{F}\nThat's it!",
    "a fence": f"```python\n{F}```",
    "a fence without a language": f"```\n{F}```",
    "a fence of language py": f"```py\n{F}```",
    "a fence that is not closed": f"Here is the code:\n```python\n{F}",
    "a fence, then prose": f"Sure!\n\n```python\n{F}```\n\nIt works by adding 1.",
    "a fence, then its use": f"```python\n{F}```\nUse:\n```python\nprint(f(3))\n```",
    "a fence, then an import of it": f"```python\n{F}```\n```python\nfrom a import f\nf(1)\n```",
    "a fence, then output": f"```python\n{F}```\nOutput:\n```text\nf = 3\n```",
    "a shell fence, then code": f"```bash\npip install f\n```\n```python\n{F}```",
    "wrong fence, right fence": f"```python\n{WRONG_F}```\nNo, wait.\n```python\n{F}```",
    "right fence, cut fence": f"```python\n{F}```\nShorter:\n```python\ndef f(x):\n    pass",
    "a fence with an indented block": "```python\n    def g():\n        return 1\n\n"
    "    def f(x):\n        return x + g()\n```",
    "a fence closed without an opening": f"{F}```\n\nThe function adds 1.",
    "two definitions": f"{WRONG_F}\n{F}",
    "a thought before": f"<think>\nMaybe {WRONG_F} [DONE]?\n</think>\n{F}",
    "a strange escape": f'S = "\\d"\n{F}',
}

CONTINUATIONS = {
    "body": BODY,
    "body after a line break": f"\n{BODY}",
    "body whose first line lost its indentation": BODY.lstrip(),
    "body without indentation": "y = x + 1\nreturn y\n",
    "nested body without its first indentation": "if x:\n        return x + 1\n    return 1\n",
    "nested body without indentation": "if x:\n    return x + 1\nreturn 1\n",
    "body that uses the header's helper": "    return double(x)\n",
    "body, then another function": f"{BODY}\n\ndef g(:\n    pass",
    "body, then the function again": f"{BODY}\n\n{WRONG_F}",
    "body, then tests": f"{BODY}\nassert f(1) == 5\nprint(f(2))\n",
    "body, then prose": f"{BODY}\nThis adds one, doesn't it?\n",
    "body, then a fence's end": f"{BODY}```\nIt adds 1.",
    "body in a fence": f"```python\n{BODY}```",
    "body in a fence that is not closed": f"The body:\n```python\n{BODY}",
    "body with an import": "    import math\n    return math.floor(x) + 1\n",
    "whole function": F,
    "whole function with the header's types": HEADER[HEADER.index("def f") :] + BODY,
    "whole function with the helper": "def f(x: List) -> List:\n    return double(x)\n",
    "whole function in a fence": f"Sure!\n```python\n{HEADER}{BODY}```\n",
    "whole indented function in a fence": "```python\n    def f(x):\n        return x + 1\n```",
    "whole function after a space": " def f(x):\n    return x + 1\n",
}


@pytest.mark.parametrize("text", COMPLETIONS.values(), ids=COMPLETIONS)
def test_the_program_in_a_completion_is_found(text):
    assert result(extract(text, "f")) == 2


@pytest.mark.parametrize("text", CONTINUATIONS.values(), ids=CONTINUATIONS)
def test_a_function_that_a_completion_continues_is_found(text):
    assert result(extract(text, "f", HEADER)) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "[DONE]",
        "I cannot solve this.",
        "Sure",
        "It's the sum, of course!",
        "```python\n```",
        "```text\nnothing here\n```",
        "def f(x):",
        "def f(x:\n    return x",
        "for x in",
        "Import the module, then\ndefine a function.",
        "\0\0",
        "(" * 5000,
    ],
)
@pytest.mark.parametrize("header", ["", HEADER])
def test_a_text_without_code_gives_no_program(text, header):
    assert extract(text, "f", header) == ""


@pytest.mark.parametrize("text", [G, f"```python\n{G}```", f"Sure.\n{G}[DONE]", "import f\n"])
def test_code_that_does_not_define_the_entry_point_is_still_a_program(text):
    program = extract(text, "f")
    assert program
    assert "def f" not in program


def test_uses_of_the_function_are_dropped_and_what_it_needs_is_kept():
    text = (
        f"import sys\nsys.setrecursionlimit(9999)\n# start\n{F}\nLIMIT = 3\nx = f(1)\nprint(x)\n{G}"
    )
    assert extract(text, "f") == (f"import sys\nsys.setrecursionlimit(9999)\n{F}LIMIT = 3\n{G}")


def test_a_cut_function_is_kept_up_to_the_cut():
    assert extract("def f(x):\n    y = x\n    return (y +", "f") == "def f(x):\n    y = x\n"


BROKEN = {
    "cut functions": "def f(\n",
    "cut assignments": "x = (\n",
    "every second line is cut": "x = 1\ny = (\n",
    "prose": "It's (\n",
    "quotes": '"""\n',
    "texts that are not closed": "def g():\n    '''x\n",
    "fences of broken lines": "```\nx = (\n```\n",
    "fences that are not closed": "```python\nx = (\n",
    "openings within a line": "```a",
    "nested brackets": "x = (\n    [\n",
    "blocks": "if x:\n    y = [\n",
}


@pytest.mark.parametrize("header", ["", HEADER])
@pytest.mark.parametrize("lines", BROKEN.values(), ids=BROKEN)
def test_the_characters_that_are_parsed_grow_with_the_text_alone(lines, header, monkeypatch):
    parse, parsed = ast.parse, []
    monkeypatch.setattr(ast, "parse", lambda text: parsed.append(len(text)) or parse(text))
    text = lines * (3000 // len(lines))
    assert "def f" not in extract(text, "f", header)
    assert sum(parsed) <= PARSED_PER_CHARACTER * (len(text) + len(header))


def test_a_program_among_many_broken_lines_is_still_found():
    assert result(extract("x = (\n" * 20 + F, "f")) == 2
    assert result(extract("```\nx = (\n```\n" * 50 + f"```python\n{F}```", "f")) == 2


def test_code_that_is_nested_too_deeply_to_parse_is_no_program():
    assert extract("x = " + "-" * 100_000 + "1", "f") == ""
