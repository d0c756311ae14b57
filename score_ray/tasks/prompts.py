"""The texts around a question: the presets, and how a config replaces parts of them."""

from dataclasses import dataclass, replace

from score_ray.config.prompt_texts import PROMPT_TEXTS, PromptConfig

# arXiv 2409.12917, appendix C, word for word.
PAPER_MATH_FIRST = (
    "You are a math expert. When you respond, respond only with the Solution of the final "
    "Problem, thinking step by step. At the end of the Solution, when you give your final "
    'answer, write it in the form "Final Answer: The final answer is $answer$. I hope it is '
    'correct."'
)
PAPER_MATH_CORRECTION = (
    "There might be an error in the solution above because of lack of understanding of the "
    "question. Please correct the error, if any, and rewrite the solution. Only output the "
    "final solution! At the end of the Solution, when you give your final answer, write it in "
    'the form "Final Answer: The final answer is $answer$. I hope it is correct."'
)

PAPER_CODE_CORRECTION = (
    "# There might be an error in the code above because of lack of understanding of the "
    "question. Please correct the error, if any, and rewrite the solution. Only output the "
    "final correct Python program!"
)

# The 3-shot prompt of Austin et al. (arXiv 2108.07732) with MBPP's problems 2, 3 and 4, as in
# appendix C. The MBPP task formats its questions with MBPP_QUESTION, so they contain the tests.
MBPP_QUESTION = "{task} Your code should pass these tests:\n\n{tests}"
_MBPP_FIRST = "You are an expert Python programmer, and here is your task: {question}\n[BEGIN]\n"
_MBPP_SHOTS = (
    (
        "Write a function to find the similar elements from the given two tuple lists.",
        """\
assert similar_elements((3, 4, 5, 6),(5, 7, 4, 10)) == (4, 5)
assert similar_elements((1, 2, 3, 4),(5, 4, 3, 7)) == (3, 4)
assert similar_elements((11, 12, 14, 13),(17, 15, 14, 13)) == (13, 14)""",
        """\
def similar_elements(test_tup1, test_tup2):
  res = tuple(set(test_tup1) & set(test_tup2))
  return (res)""",
    ),
    (
        "Write a python function to identify non-prime numbers.",
        """\
assert is_not_prime(2) == False
assert is_not_prime(10) == True
assert is_not_prime(35) == True""",
        """\
import math
def is_not_prime(n):
    result = False
    for i in range(2,int(math.sqrt(n)) + 1):
        if n % i == 0:
            result = True
    return result""",
    ),
    (
        "Write a function to find the largest integers from a given list of numbers using heap "
        "queue algorithm.",
        """\
assert heap_queue_largest( [25, 35, 22, 85, 14, 65, 75, 22, 58],3)==[85, 75, 65]
assert heap_queue_largest( [25, 35, 22, 85, 14, 65, 75, 22, 58],2)==[85, 75]
assert heap_queue_largest( [25, 35, 22, 85, 14, 65, 75, 22, 58],5)==[85, 75, 65, 58, 35]""",
        """\
import heapq as hq
def heap_queue_largest(nums,n):
  largest_nums = hq.nlargest(n, nums)
  return largest_nums""",
    ),
)


def _few_shot_mbpp() -> str:
    """Return the first prompt of MBPP: three solved problems, then {question}."""
    parts = []
    for task, tests, program in _MBPP_SHOTS:
        question = MBPP_QUESTION.format(task=task, tests=tests)
        parts.append(f"{_MBPP_FIRST.format(question=question)}{program}\n[DONE]\n\n")
    return "".join([*parts, _MBPP_FIRST])


@dataclass(frozen=True, slots=True)
class Prompts:
    """The texts of a run; `first` contains {question}, `system` and `feedback` may be empty."""

    first: str
    correction: str
    system: str = ""
    feedback: str = ""


# In plain text the instruction is on a line of its own below the attempt.
_MATH_CORRECTION, _CODE_CORRECTION = (
    f"\n\n{correction}\n" for correction in (PAPER_MATH_CORRECTION, PAPER_CODE_CORRECTION)
)

# Self-Refine (arXiv 2303.17651) asks for feedback, and then for a refined answer.
_REFINE_FEEDBACK = (
    "\n\nReview the solution above. Name every error in it and say how to mend it; if there is "
    "none, say that it is correct. Do not write a new solution.\n"
)
_REFINE_CORRECTION = (
    "\n\nNow rewrite the solution so that it follows this review. Only output the final "
    "solution! At the end of the Solution, when you give your final answer, write it in the form "
    '"Final Answer: The final answer is $answer$. I hope it is correct."\n'
)

# The names that `prompts.preset` allows in config/schema.py; a test compares the two.
PRESETS = {
    "paper_math": Prompts("{question}", _MATH_CORRECTION, PAPER_MATH_FIRST),
    "self_refine_math": Prompts(
        "{question}", _REFINE_CORRECTION, PAPER_MATH_FIRST, _REFINE_FEEDBACK
    ),
    "paper_mbpp": Prompts(_few_shot_mbpp(), _CODE_CORRECTION),
    "paper_humaneval": Prompts("{question}", _CODE_CORRECTION),
}


def choose_prompts(config: PromptConfig) -> Prompts:
    """Return the texts of a config's `prompts` section; the preset, if named, gives unset ones."""
    preset = PRESETS[config.preset] if config.preset else Prompts("", "")
    own = {name: getattr(config, name) for name in PROMPT_TEXTS}
    return replace(preset, **{name: text for name, text in own.items() if text is not None})
