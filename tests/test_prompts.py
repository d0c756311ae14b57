import pytest

from score_ray.prompts import PAPER_MATH_CORRECTION, PAPER_MATH_FIRST, Prompter, Prompts, choose
from score_ray.tasks.base_model import character_tokenizer
from score_ray.types import Attempt, Finish, Problem

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FORGETFUL = CHATML.replace("m.content", "m.content.split('</think>')[-1]")


class Characters:
    """A tokenizer whose special token is <|im_end|> and whose other tokens are characters."""

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


def test_the_papers_prompts_word_for_word():
    assert PAPER_MATH_FIRST == (
        'You are a math expert. When you respond, respond only with the Solution of the final Problem, thinking step by step. At the end of the Solution, when you give your final answer, write it in the form "Final Answer: The final answer is $answer$. I hope it is correct."'
    )
    assert PAPER_MATH_CORRECTION == (
        'There might be an error in the solution above because of lack of understanding of the question. Please correct the error, if any, and rewrite the solution. Only output the final solution! At the end of the Solution, when you give your final answer, write it in the form "Final Answer: The final answer is $answer$. I hope it is correct."'
    )


@pytest.mark.parametrize(("end", "finish"), [("<|im_end|>", Finish.STOP), ("", Finish.LENGTH)])
def test_a_chat_goes_on_as_the_template_writes_it(end, finish):
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


def test_a_prompt_that_is_too_long_is_named():
    prompter = Prompter(character_tokenizer(), Prompts("{question}", "?"))
    with pytest.raises(ValueError, match="problem 4: its prompt has 6 tokens.*room for 5"):
        prompter.check_length([Problem(4, "37+48=", "85")], 5)


def test_first_must_contain_the_question():
    with pytest.raises(ValueError, match="question"):
        Prompter(character_tokenizer(), Prompts("37", "?"))


def test_a_recipes_own_texts_go_before_the_presets():
    chosen = choose("paper_math", Prompts("", "Try again."))
    assert chosen.correction == "Try again."
    assert chosen.first == "{question}"
    assert chosen.system == PAPER_MATH_FIRST
