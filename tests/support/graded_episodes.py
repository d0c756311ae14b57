"""Graded episodes with known texts and verdicts."""

from score_ray.types import Attempt, Episode, Finish, GradedEpisode, Problem, Verdict

C, W, CUT = Verdict.CORRECT, Verdict.WRONG, Verdict.TRUNCATED


def graded(texts: tuple[str, ...], verdicts: tuple[Verdict, ...]) -> GradedEpisode:
    """Return an episode with 2 completion tokens per attempt; TRUNCATED ones are cut."""
    attempts, prompt = [], (1,)
    for text, verdict in zip(texts, verdicts, strict=True):
        finish = Finish.LENGTH if verdict is CUT else Finish.STOP
        attempts.append(Attempt(prompt, (7, 8), (-0.1, -0.2), text, finish, 0))
        prompt = (*prompt, 7, 8, 9)
    return GradedEpisode.by_verdict(Episode(Problem(0, "q", "4"), 0, tuple(attempts)), verdicts)


FIVE = [
    graded(("abcd", "abcf"), (W, C)),  # i -> c, distance 1 of 8
    graded(("ab", "  ab\n"), (C, C)),  # the same but for white space, distance 3 of 7
    graded(("", ""), (CUT, CUT)),
    graded(("4", "5"), (C, W)),  # c -> i, distance 1 of 2
    graded(("1", "4"), (Verdict.NO_ANSWER, C)),  # i -> c, distance 1 of 2
]
