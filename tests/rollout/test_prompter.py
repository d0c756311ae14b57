import pytest

from score_ray.rollout.prompter import Prompter
from score_ray.tasks.arithmetic_model import character_tokenizer
from score_ray.tasks.prompts import (
    MBPP_QUESTION,
    PAPER_CODE_CORRECTION,
    PAPER_MATH_CORRECTION,
    PAPER_MATH_FIRST,
    PRESETS,
    Prompts,
)
from score_ray.types import Attempt, Finish, Problem

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FORGETFUL = CHATML.replace("m.content", "m.content.split('</think>')[-1]")


class Characters:
    """A tokenizer of characters, with <|im_end|> as its special token."""

    eos_token_id, all_special_ids, name_or_path = 0, [0], "test-model"

    def __init__(self, template: str | None):
        self.chat_template = template

    def encode(self, text, add_special_tokens):
        assert not add_special_tokens
        return [ord(c) for c in text.replace("<|im_end|>", "\0")]

    def apply_chat_template(self, talk, tokenize, add_generation_prompt):
        import jinja2

        template = jinja2.Template(self.chat_template)
        return template.render(messages=talk, add_generation_prompt=add_generation_prompt)


def text_of(ids) -> str:
    return "".join(map(chr, ids)).replace("\0", "<|im_end|>")


def attempt_of(prompt, text, finish):
    ids = tuple(Characters(None).encode(text, False))
    return Attempt(prompt, ids, (0.0,) * len(ids), text, finish, 0)


@pytest.mark.parametrize(("end", "finish"), [("<|im_end|>", Finish.STOP), ("", Finish.LENGTH)])
def test_a_second_prompt_is_what_the_chat_template_writes(end, finish):
    prompter = Prompter(Characters(CHATML), Prompts("Q: {question}", "Again!", "Be good."))
    first = prompter.first_ids("1+1 in {braces}?")
    assert text_of(first) == (
        "<|im_start|>system\nBe good.<|im_end|>\n"
        "<|im_start|>user\nQ: 1+1 in {braces}?<|im_end|>\n<|im_start|>assistant\n"
    )
    after = prompter.next_prompt(attempt_of(first, f"2{end}", finish))
    assert text_of(after) == text_of(first) + (
        "2<|im_end|>\n<|im_start|>user\nAgain!<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_template_that_drops_earlier_thinking_is_named():
    with pytest.raises(ValueError, match="template of test-model changes earlier turns"):
        Prompter(Characters(FORGETFUL), Prompts("{question}", "Again!"))


def test_a_base_model_gets_plain_text_and_the_second_prompt_extends_the_first():
    prompter = Prompter(character_tokenizer(), Prompts("{question}", "?"))
    first = prompter.first_ids("37+48=")
    assert first == (3, 7, 10, 4, 8, 11)
    after = prompter.next_prompt(Attempt(first, (7, 5, 13), (0.0,) * 3, "75", Finish.STOP, 0))
    assert after == (*first, 7, 5, 13, 12)
    assert prompter.stop_ids == (13,)


def test_a_prompt_that_is_too_long_says_its_length_and_the_room():
    prompter = Prompter(character_tokenizer(), Prompts("{question}", "?"))
    fault = prompter.fault(Problem(4, "37+48=", "85"), 5, max_tokens=4)
    assert fault == (
        "its prompt has 6 tokens; model.max_length leaves room for 5 next to the attempts"
    )


def test_a_given_attempt_is_ended_as_a_sampled_one_and_counts_where_it_is_longer():
    prompter = Prompter(character_tokenizer(), Prompts("{question}", "?"))
    assert prompter.given_ids("75") == (7, 5, 13)
    problem = Problem(4, "37+48=", "85", given="12345")
    assert prompter.fault(problem, 6, max_tokens=6) == ""
    assert "its prompt has 8 tokens" in prompter.fault(problem, 7, max_tokens=4)


def test_the_first_prompt_must_contain_the_question():
    with pytest.raises(ValueError, match="question"):
        Prompter(character_tokenizer(), Prompts("37", "?"))


MBPP_PROMPT = """\
You are an expert Python programmer, and here is your task: Write a function to find the similar elements from the given two tuple lists. Your code should pass these tests:

assert similar_elements((3, 4, 5, 6),(5, 7, 4, 10)) == (4, 5)
assert similar_elements((1, 2, 3, 4),(5, 4, 3, 7)) == (3, 4)
assert similar_elements((11, 12, 14, 13),(17, 15, 14, 13)) == (13, 14)
[BEGIN]
def similar_elements(test_tup1, test_tup2):
  res = tuple(set(test_tup1) & set(test_tup2))
  return (res)
[DONE]

You are an expert Python programmer, and here is your task: Write a python function to identify non-prime numbers. Your code should pass these tests:

assert is_not_prime(2) == False
assert is_not_prime(10) == True
assert is_not_prime(35) == True
[BEGIN]
import math
def is_not_prime(n):
    result = False
    for i in range(2,int(math.sqrt(n)) + 1):
        if n % i == 0:
            result = True
    return result
[DONE]

You are an expert Python programmer, and here is your task: Write a function to find the largest integers from a given list of numbers using heap queue algorithm. Your code should pass these tests:

assert heap_queue_largest( [25, 35, 22, 85, 14, 65, 75, 22, 58],3)==[85, 75, 65]
assert heap_queue_largest( [25, 35, 22, 85, 14, 65, 75, 22, 58],2)==[85, 75]
assert heap_queue_largest( [25, 35, 22, 85, 14, 65, 75, 22, 58],5)==[85, 75, 65, 58, 35]
[BEGIN]
import heapq as hq
def heap_queue_largest(nums,n):
  largest_nums = hq.nlargest(n, nums)
  return largest_nums
[DONE]

You are an expert Python programmer, and here is your task: Add {one}. Your code should pass these tests:

assert f(1) == 2
[BEGIN]
"""


def test_a_base_model_gets_the_three_shots_and_the_instruction_on_a_line_of_its_own():
    prompter = Prompter(Characters(None), PRESETS["paper_mbpp"])
    question = MBPP_QUESTION.format(task="Add {one}.", tests="assert f(1) == 2")
    first = prompter.first_ids(question)
    assert text_of(first) == MBPP_PROMPT
    after = prompter.next_prompt(attempt_of(first, "def f(x): 1\n[DONE]", Finish.LENGTH))
    assert text_of(after) == f"{MBPP_PROMPT}def f(x): 1\n[DONE]\n\n{PAPER_CODE_CORRECTION}\n"


def test_a_chat_gets_the_three_shots_and_the_bare_instruction_in_turns():
    prompter = Prompter(Characters(CHATML), PRESETS["paper_mbpp"])
    question = MBPP_QUESTION.format(task="Add {one}.", tests="assert f(1) == 2")
    first = prompter.first_ids(question)
    assert text_of(first) == (f"<|im_start|>user\n{MBPP_PROMPT}<|im_end|>\n<|im_start|>assistant\n")
    after = prompter.next_prompt(attempt_of(first, "code<|im_end|>", Finish.STOP))
    assert text_of(after) == text_of(first) + (
        f"code<|im_end|>\n<|im_start|>user\n{PAPER_CODE_CORRECTION}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_base_model_is_given_the_papers_mathematics_instructions_as_text():
    prompter = Prompter(Characters(None), PRESETS["paper_math"])
    first = prompter.first_ids("What is {x}?")
    assert text_of(first) == f"{PAPER_MATH_FIRST}\n\nWhat is {{x}}?"
    after = prompter.next_prompt(attempt_of(first, " It is 4.", Finish.LENGTH))
    assert text_of(after) == f"{text_of(first)} It is 4.\n\n{PAPER_MATH_CORRECTION}\n"


def test_humaneval_is_asked_with_the_function_alone():
    prompter = Prompter(Characters(None), PRESETS["paper_humaneval"])
    header = 'def f(x):\n    """Add 1: {x}."""\n'
    first = prompter.first_ids(header)
    assert text_of(first) == header
    after = prompter.next_prompt(attempt_of(first, "    return x", Finish.LENGTH))
    assert text_of(after) == f"{header}    return x\n\n{PAPER_CODE_CORRECTION}\n"


def test_feedback_is_a_turn_of_its_own_between_an_attempt_and_its_correction():
    prompter = Prompter(Characters(CHATML), Prompts("{question}", "Mend it.", "", "Any error?"))
    first = prompter.first_ids("1+1=")
    asked = prompter.feedback_prompt(attempt_of(first, "3<|im_end|>", Finish.STOP))
    assert text_of(asked) == text_of(first) + (
        "3<|im_end|>\n<|im_start|>user\nAny error?<|im_end|>\n<|im_start|>assistant\n"
    )
    mended = prompter.next_prompt(attempt_of(asked, "Yes", Finish.LENGTH))
    assert text_of(mended) == text_of(asked) + (
        "Yes<|im_end|>\n<|im_start|>user\nMend it.<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_longest_turn_counts_the_attempt_the_correction_and_feedback():
    plain = Prompter(character_tokenizer(), Prompts("{question}", "?"))
    assert (plain.asks_feedback, plain.longest_turn(4)) == (False, 5)
    asking = Prompter(character_tokenizer(), Prompts("{question}", "?", feedback="+="))
    assert (asking.asks_feedback, asking.longest_turn(4)) == (True, 11)
