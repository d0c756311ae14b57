"""Episodes whose attempts have given texts; their tokens have no meaning."""

from score_ray.types import Attempt, Episode, Finish, Problem


def text_episode(problem: Problem, *texts: str, finish: Finish = Finish.STOP) -> Episode:
    """Return sample 0 of a problem, with an attempt for each text."""
    attempts, prompt = [], (1,)
    for text in texts:
        attempts.append(Attempt(prompt, (2,), (-1.0,), text, finish, 0))
        prompt = (*prompt, 2, 3)
    return Episode(problem, 0, tuple(attempts))
