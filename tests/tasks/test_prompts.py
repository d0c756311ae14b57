from typing import get_args

from score_ray.config.prompt_texts import PromptConfig
from score_ray.tasks.prompts import (
    PAPER_CODE_CORRECTION,
    PAPER_MATH_CORRECTION,
    PAPER_MATH_FIRST,
    PRESETS,
    Prompts,
    choose_prompts,
)


def test_the_mathematics_instructions_are_the_papers_word_for_word():
    assert PAPER_MATH_FIRST == (
        'You are a math expert. When you respond, respond only with the Solution of the final Problem, thinking step by step. At the end of the Solution, when you give your final answer, write it in the form "Final Answer: The final answer is $answer$. I hope it is correct."'
    )
    assert PAPER_MATH_CORRECTION == (
        'There might be an error in the solution above because of lack of understanding of the question. Please correct the error, if any, and rewrite the solution. Only output the final solution! At the end of the Solution, when you give your final answer, write it in the form "Final Answer: The final answer is $answer$. I hope it is correct."'
    )


def test_the_code_instruction_is_the_papers_word_for_word():
    assert PAPER_CODE_CORRECTION == (
        "# There might be an error in the code above because of lack of understanding of the question. Please correct the error, if any, and rewrite the solution. Only output the final correct Python program!"
    )


def test_the_presets_are_exactly_the_names_that_a_config_may_give():
    assert {"", *PRESETS} == set(get_args(PromptConfig.model_fields["preset"].annotation))


def test_a_configs_texts_replace_the_presets():
    chosen = choose_prompts(PromptConfig(preset="paper_math", correction="Try again."))
    assert chosen.correction == "Try again."
    assert chosen.first == "{question}"
    assert chosen.system == PAPER_MATH_FIRST


def test_an_empty_text_empties_that_of_the_preset_and_an_unset_one_keeps_it():
    """The first preset has a system prompt, and the second a turn of feedback too."""
    chosen = choose_prompts(PromptConfig(preset="paper_math", system=""))
    assert chosen == Prompts("{question}", PRESETS["paper_math"].correction)
    chosen = choose_prompts(PromptConfig(preset="self_refine_math", feedback=""))
    assert (chosen.feedback, chosen.system) == ("", PAPER_MATH_FIRST)


def test_without_a_preset_an_unset_text_is_empty():
    assert choose_prompts(PromptConfig(first="{question}")) == Prompts("{question}", "")
    assert PromptConfig(first="{question}", system="") == PromptConfig(first="{question}")


def test_any_part_of_the_code_prompts_can_be_replaced():
    chosen = choose_prompts(
        PromptConfig(preset="paper_mbpp", first="Task: {question}", system="You program.")
    )
    assert chosen == Prompts("Task: {question}", PRESETS["paper_mbpp"].correction, "You program.")


def test_self_refine_asks_for_a_review_and_then_for_a_solution_in_the_papers_form():
    words = PRESETS["self_refine_math"]
    assert "Review the solution above" in words.feedback
    assert PAPER_MATH_CORRECTION.partition("At the end")[2] in words.correction
    assert not PRESETS["paper_math"].feedback
