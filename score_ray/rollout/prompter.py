"""Makes prompts of token ids: the first prompt, and the turns that follow an attempt.

Text is encoded once and never again. The prompt of a later attempt is the earlier attempt's
prompt ids, its completion ids and the ids of the correction turn.
"""

from collections import Counter
from functools import cached_property
from typing import Any

from score_ray.config.prompt_texts import PROMPT_TEXTS
from score_ray.rollout.control_tokens import ControlTokens
from score_ray.tasks.prompts import Prompts
from score_ray.types import Attempt, Finish, Problem

# Answers to try a chat template with. If it changes an earlier answer, or drops its thinking,
# the second attempt would not see what the first one wrote.
_ANSWERS = ("An answer.", "<think>\nA thought.\n</think>\n\nAn answer.")


class Prompter:
    """A maker of prompts from questions and attempts; raises ValueError for unusable texts."""

    def __init__(self, tokenizer: Any, prompts: Prompts) -> None:
        if "{question}" not in prompts.first:
            raise ValueError("prompts.first: must contain {question}")
        self._tokenizer, self._prompts = tokenizer, prompts
        self._correction = self._turn_ids(prompts.correction)
        self._feedback = self._turn_ids(prompts.feedback) if prompts.feedback else ()
        if not self._correction:
            raise ValueError(
                f"prompts.correction: {prompts.correction!r} gives no tokens; it has to ask for a "
                "correction"
            )

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end an attempt: the end of text, and the chat template's end of turn."""
        ends = {self._tokenizer.eos_token_id}
        if self._tokenizer.chat_template and self._is_special(self._correction[0]):
            ends.add(self._correction[0])
        return tuple(sorted(ends - {None}))

    @property
    def asks_feedback(self) -> bool:
        """Whether the model is asked for feedback between an attempt and its correction."""
        return bool(self._feedback)

    def longest_turn(self, max_tokens: int) -> int:
        """Return the most tokens of an attempt and of the turns before it, feedback included."""
        reply = max_tokens if self._feedback else 0
        return len(self._feedback) + reply + len(self._correction) + max_tokens

    def first_ids(self, question: str) -> tuple[int, ...]:
        """Return the prompt of the first attempt."""
        # str.format would fail on questions with braces.
        text = self._prompts.first.replace("{question}", question)
        if self._tokenizer.chat_template:
            text = self._render(self._opening(text))
        elif self._prompts.system:
            text = f"{self._prompts.system}\n\n{text}"
        return self._encode(text)

    def correction_ids(self, finish: Finish) -> tuple[int, ...]:
        """Return the turn that asks for a correction of an attempt that ended in this way.

        An attempt that was not cut has its end-of-turn token already.
        """
        return self._after(finish, self._correction)

    def given_ids(self, text: str) -> tuple[int, ...]:
        """Return a given attempt's tokens, with the token by which the model would end it."""
        ends = self.stop_ids
        end = self._correction[0] if self._correction[0] in ends else next(iter(ends), None)
        return self._encode(text) + (() if end is None else (end,))

    def next_prompt(self, attempt: Attempt) -> tuple[int, ...]:
        """Return the prompt of the attempt after this one."""
        return attempt.prompt_ids + attempt.completion_ids + self.correction_ids(attempt.finish)

    def feedback_prompt(self, attempt: Attempt) -> tuple[int, ...]:
        """Return the prompt for feedback on this attempt; the reply gets `next_prompt`."""
        turn = self._after(attempt.finish, self._feedback)
        return attempt.prompt_ids + attempt.completion_ids + turn

    def fault(self, problem: Problem, most_tokens: int, max_tokens: int) -> str:
        """Return why a problem cannot be put to the model; "" if it can.

        `most_tokens` are left for the prompt next to attempts of `max_tokens` each.
        """
        prompt = self.first_ids(problem.question)
        given = self.given_ids(problem.given) if problem.given else ()
        # A given attempt replaces a sampled one, and may be longer.
        length = len(prompt) + max(0, len(given) - max_tokens)
        if length > most_tokens:
            return (
                f"its prompt has {length} tokens; model.max_length leaves room for {most_tokens} "
                "next to the attempts"
            )
        controls = self._controls
        found = controls.count(prompt) - self._own_controls
        names = controls.names(problem.question, found)
        names += controls.in_text(problem.given, given[:-1])
        named = ", ".join(dict.fromkeys(names))
        return f"it holds control tokens, which would end a turn: {named}" if names else ""

    def prompts_with_controls(self) -> dict[str, tuple[str, ...]]:
        """Return the control tokens in the texts of `prompts`, by key, where there are any."""
        texts = {key: getattr(self._prompts, key) for key in PROMPT_TEXTS}
        found = {
            key: self._controls.in_text(text, self._encode(text)) for key, text in texts.items()
        }
        return {key: names for key, names in found.items() if names}

    @cached_property
    def _controls(self) -> ControlTokens:
        return ControlTokens(self._tokenizer, self._marks_of_turns())

    @cached_property
    def _own_controls(self) -> Counter[int]:
        """Those of a prompt whose question has none."""
        return self._controls.count(self.first_ids("1"))

    def _marks_of_turns(self) -> list[str]:
        """Return the lines with which the chat template begins and ends the user's turn."""
        if not self._tokenizer.chat_template:
            return []
        question = "A question."
        turn = self._render([{"role": "user", "content": question}])
        before, _, after = turn.rpartition(question)
        return [*before.splitlines()[-1:], *after.splitlines()]

    def _after(self, finish: Finish, turn: tuple[int, ...]) -> tuple[int, ...]:
        closed = finish is Finish.STOP and turn[0] in self.stop_ids
        return turn[1:] if closed else turn

    def _turn_ids(self, text: str) -> tuple[int, ...]:
        # In plain text line breaks separate turns; a chat template does that by itself.
        chat = bool(self._tokenizer.chat_template)
        return self._encode(self._template_turn(text.strip()) if chat else text)

    def _template_turn(self, correction: str) -> str:
        """Return the text between an answer and the next one, as the chat template writes it."""
        turns = set()
        for answer in _ANSWERS:
            before = self._render(self._opening("A question.")) + answer
            messages = [
                {"role": "assistant", "content": answer},
                {"role": "user", "content": correction},
            ]
            after = self._render([*self._opening("A question."), *messages])
            if not after.startswith(before):
                raise ValueError(
                    f"the chat template of {self._tokenizer.name_or_path} changes earlier turns "
                    f"when a conversation goes on (tried with the answer {answer!r}), so a second "
                    "attempt would not see the first one as it was written"
                )
            turns.add(after[len(before) :])
        return turns.pop()

    def _opening(self, text: str) -> list[dict[str, str]]:
        content = self._prompts.system
        system = [{"role": "system", "content": content}] if content else []
        return [*system, {"role": "user", "content": text}]

    def _render(self, messages: list[dict[str, str]]) -> str:
        return self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def _is_special(self, token: int) -> bool:
        return token in self._tokenizer.all_special_ids


def load_prompter(model: str, prompts: Prompts) -> Prompter:
    """Return the prompter for a model's tokenizer; takes plain values, which can be pickled."""
    from transformers import AutoTokenizer

    return Prompter(AutoTokenizer.from_pretrained(model), prompts)
