"""The words around a question, as token ids: first prompt and appended correction turn.

Text is encoded once and never again: a later attempt's prompt is the earlier attempt's
prompt ids, its completion ids and the ids of the correction turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from score_ray.types import Attempt, Finish, Problem

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
# appendix C. A task writes MBPP_QUESTION, so that {question} holds the tests as well.
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


def _mbpp_first() -> str:
    parts = []
    for task, tests, program in _MBPP_SHOTS:
        question = MBPP_QUESTION.format(task=task, tests=tests)
        parts.append(f"{_MBPP_FIRST.format(question=question)}{program}\n[DONE]\n\n")
    return "".join([*parts, _MBPP_FIRST])


@dataclass(frozen=True, slots=True)
class Prompts:
    """The texts of a recipe; `first` contains {question}, `feedback` may be empty."""

    first: str
    correction: str
    system: str = ""
    feedback: str = ""


# In plain text the instruction stands on lines of its own below the attempt.
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

PRESETS = {
    "paper_math": Prompts("{question}", _MATH_CORRECTION, PAPER_MATH_FIRST),
    "self_refine_math": Prompts(
        "{question}", _REFINE_CORRECTION, PAPER_MATH_FIRST, _REFINE_FEEDBACK
    ),
    "paper_mbpp": Prompts(_mbpp_first(), _CODE_CORRECTION),
    "paper_humaneval": Prompts("{question}", _CODE_CORRECTION),
}


def choose(preset: str, own: Prompts) -> Prompts:
    """The preset's texts where one is named, with the recipe's own in place of them if given."""
    base = PRESETS[preset] if preset else own
    return Prompts(
        own.first or base.first,
        own.correction or base.correction,
        own.system or base.system,
        own.feedback or base.feedback,
    )


# Content that a template is tried with: if it rewrites an earlier answer, or drops its
# thinking, the second attempt would not see what the first one wrote.
_ANSWERS = ("An answer.", "<think>\nA thought.\n</think>\n\nAn answer.")


class Prompter:
    """Turns questions and attempts into prompt ids; ValueError for texts that cannot work."""

    def __init__(self, tokenizer: Any, words: Prompts) -> None:
        if "{question}" not in words.first:
            raise ValueError("prompts.first: must contain {question}")
        self._tokenizer, self._words = tokenizer, words
        self._correction = self._turn_ids(words.correction)
        self._feedback = self._turn_ids(words.feedback) if words.feedback else ()
        if not self._correction:
            raise ValueError("prompts.correction: gives no tokens")

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end an attempt: the end of text, and the template's end of turn."""
        ends = {self._tokenizer.eos_token_id}
        if self._tokenizer.chat_template and self._is_special(self._correction[0]):
            ends.add(self._correction[0])
        return tuple(sorted(ends - {None}))

    @property
    def asks_feedback(self) -> bool:
        """Whether the model is asked for feedback between an attempt and its correction."""
        return bool(self._feedback)

    def longest_turn(self, max_tokens: int) -> int:
        """The most tokens that an attempt of `max_tokens` and what leads up to it take."""
        reply = max_tokens if self._feedback else 0
        return len(self._feedback) + reply + len(self._correction) + max_tokens

    def first_ids(self, question: str) -> tuple[int, ...]:
        """The prompt of the first attempt."""
        # Not str.format: questions may hold braces.
        text = self._words.first.replace("{question}", question)
        if self._tokenizer.chat_template:
            text = self._render(self._opening(text))
        elif self._words.system:
            text = f"{self._words.system}\n\n{text}"
        return self._encode(text)

    def correction_ids(self, finish: Finish) -> tuple[int, ...]:
        """What follows an attempt; one that was not cut has its end-of-turn token already."""
        return self._after(finish, self._correction)

    def given_ids(self, text: str) -> tuple[int, ...]:
        """An attempt that is given as text, ended as one that the model ends itself."""
        ends = self.stop_ids
        end = self._correction[0] if self._correction[0] in ends else next(iter(ends), None)
        return self._encode(text) + (() if end is None else (end,))

    def next_prompt(self, attempt: Attempt) -> tuple[int, ...]:
        """The prompt of the attempt after this one."""
        return attempt.prompt_ids + attempt.completion_ids + self.correction_ids(attempt.finish)

    def feedback_prompt(self, attempt: Attempt) -> tuple[int, ...]:
        """The prompt of the feedback on this attempt; `next_prompt` of it goes on from there."""
        turn = self._after(attempt.finish, self._feedback)
        return attempt.prompt_ids + attempt.completion_ids + turn

    def check_length(
        self, problems: Sequence[Problem], max_prompt_tokens: int, max_tokens: int
    ) -> None:
        """Raise ValueError naming the first problem whose prompt is too long."""
        for problem in problems:
            length = len(self.first_ids(problem.question))
            if problem.given:
                # It takes the place of an attempt, and may be longer than one.
                length += max(0, len(self.given_ids(problem.given)) - max_tokens)
            if length > max_prompt_tokens:
                raise ValueError(
                    f"problem {problem.index}: its prompt has {length} tokens; model.max_length "
                    f"leaves room for {max_prompt_tokens} beside the attempts"
                )

    def _after(self, finish: Finish, turn: tuple[int, ...]) -> tuple[int, ...]:
        closed = finish is Finish.STOP and turn[0] in self.stop_ids
        return turn[1:] if closed else turn

    def _turn_ids(self, text: str) -> tuple[int, ...]:
        # Line breaks around a turn set it apart in plain text; a chat has turns for that.
        chat = bool(self._tokenizer.chat_template)
        return self._encode(self._template_turn(text.strip()) if chat else text)

    def _template_turn(self, correction: str) -> str:
        """The text between an answer and the next one, as the chat template writes it."""
        turns = set()
        for answer in _ANSWERS:
            before = self._render(self._opening("A question.")) + answer
            talk = [
                {"role": "assistant", "content": answer},
                {"role": "user", "content": correction},
            ]
            after = self._render([*self._opening("A question."), *talk])
            if not after.startswith(before):
                raise ValueError(
                    f"the chat template of {self._tokenizer.name_or_path} changes earlier turns "
                    f"when the talk goes on (tried with the answer {answer!r}), so a second "
                    "attempt would not see the first one as it was written"
                )
            turns.add(after[len(before) :])
        return turns.pop()

    def _opening(self, text: str) -> list[dict[str, str]]:
        words = self._words.system
        system = [{"role": "system", "content": words}] if words else []
        return [*system, {"role": "user", "content": text}]

    def _render(self, talk: list[dict[str, str]]) -> str:
        return self._tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def _is_special(self, token: int) -> bool:
        return token in self._tokenizer.all_special_ids
