"""The `prompts` section of a config."""

from typing import Any, Literal

from pydantic import model_validator

from score_ray.config.section import Section

PROMPT_TEXTS = ("first", "correction", "feedback", "system")  # of a preset
JUDGE = (
    "Question:\n{question}\n\nCorrect answer:\n{answer}\n\nProposed answer:\n{attempt}\n\n"
    "Is the proposed answer correct? Reply with Yes or No."
)


class PromptConfig(Section):
    """The texts around a question. A text that is set, if only to "", replaces the preset's."""

    # A set of texts in tasks/prompts.py.
    preset: Literal["", "paper_math", "self_refine_math", "paper_mbpp", "paper_humaneval"] = ""
    # The prompt of the first attempt, with {question} in it.
    first: str | None = None
    # The turn after an attempt, which asks for a correction.
    correction: str | None = None
    # A turn between an attempt and its correction, which asks the model for feedback. Its reply
    # stays in the context, and is not trained on.
    feedback: str | None = None
    # The system prompt.
    system: str | None = None
    # For grading.judge: the question to the reference, with {question}, {answer} and {attempt}
    # in it, and the two replies whose probabilities are compared.
    judge: str = JUDGE
    judge_yes: str = "Yes"
    judge_no: str = "No"

    @model_validator(mode="before")
    @classmethod
    def _unset_empty(cls, keys: Any) -> Any:
        """Take an empty text for an unset one if there is no preset, whose text it would empty."""
        if not isinstance(keys, dict) or keys.get("preset"):
            return keys
        return {k: None if k in PROMPT_TEXTS and v == "" else v for k, v in keys.items()}
