import numpy as np
import pytest

from score_ray.tasks.arithmetic_model import character_tokenizer
from score_ray.tasks.model_judge import JudgeQuestion, ReferenceJudge
from score_ray.types import Episode, Finish, Problem, Verdict
from tests.support.text_episodes import text_episode

TEXT = "{question}{answer}?{attempt}?"
TOKENS = character_tokenizer()


def episode(index: int, *texts: str, finish: Finish = Finish.STOP) -> Episode:
    return text_episode(Problem(index, "3+4=", "7"), *texts, finish=finish)


def likes_sevens(rows, num_attempts):
    """Score as a model to which "1" is likelier than "0" after an attempt of 7."""
    assert num_attempts == 1
    return np.array([[-1.0 if (row.token_ids[-3] == 7) == (row.token_ids[-1] == 1) else -2.0]
                     for row in rows])  # fmt: skip


def test_the_judge_reads_question_answer_and_attempt_and_only_the_word_has_a_turn():
    yes, no = JudgeQuestion(TOKENS, TEXT, "1", "0").rows(Problem(0, "3+4=", "7"), "8")
    prompt = (3, 10, 4, 11, 7, 12, 8, 12)
    assert yes.token_ids == (*prompt, 1)
    assert no.token_ids == (*prompt, 0)
    assert yes.turn_ids == no.turn_ids == (0,) * 8 + (1,)


def test_braces_in_an_attempt_are_not_filled_in():
    question = JudgeQuestion(TOKENS, TEXT, "1", "0")
    (yes, _), (same, _) = (question.rows(Problem(0, q, "7"), "{answer}") for q in ("3+4=", "3+4="))
    assert yes == same
    assert yes.token_ids.count(7) == 1


def test_verdicts_follow_the_likelier_word_in_order_of_problems():
    judge = ReferenceJudge(likes_sevens, JudgeQuestion(TOKENS, TEXT, "1", "0"))
    judge.submit([episode(2, "7", "8")])
    judge.submit([episode(1, "8", "7"), episode(0, "", "9", finish=Finish.LENGTH)])
    graded = judge.collect()
    assert [(g.episode.problem.index, *g.verdicts) for g in graded] == [
        (0, Verdict.TRUNCATED, Verdict.TRUNCATED),
        (1, Verdict.WRONG, Verdict.CORRECT),
        (2, Verdict.CORRECT, Verdict.WRONG),
    ]
    assert graded[1].rewards == (0.0, 1.0)
    judge.submit([episode(3, "")])
    assert judge.collect()[0].verdicts == (Verdict.NO_ANSWER,)


def test_a_wrong_or_too_long_question_is_an_error():
    with pytest.raises(ValueError, match=r"must contain \{answer\} and \{attempt\}"):
        JudgeQuestion(TOKENS, "{question}", "1", "0")
    with pytest.raises(ValueError, match="the same tokens"):
        JudgeQuestion(TOKENS, TEXT, "1", "1")
    with pytest.raises(ValueError, match="problem 4 .* it has 12 tokens; the model has 11"):
        JudgeQuestion(TOKENS, TEXT, "1", "0").check_length([Problem(4, "3+4=", "7")], 4, 11)


def test_a_log_prob_that_is_not_finite_is_no_judgement():
    """Against NaN no reply is likelier, which looks like a "no"."""

    def breaks_on_eights(rows, num_attempts):
        return np.array([[np.nan if row.token_ids[-3] == 8 else -1.0] for row in rows])

    judge = ReferenceJudge(breaks_on_eights, JudgeQuestion(TOKENS, TEXT, "1", "0"))
    judge.submit([episode(0, "8", "7")])
    assert judge.collect()[0].verdicts == (Verdict.GRADER_ERROR, Verdict.WRONG)
    assert judge.fault == "the reference's log-probs are not finite numbers"
    judge.submit([episode(1, "7", "7")])
    judge.collect()
    assert judge.fault == ""
