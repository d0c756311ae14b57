"""Times vLLM's offline generation of sampled episodes, as a baseline for a rollout."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from score_ray.types import Episode

if TYPE_CHECKING:
    from score_ray.rollout.engine import VllmEngine


def offline_seconds(engine: "VllmEngine", episodes: Sequence[Episode]) -> float:
    """Return the seconds that the engine takes for the same prompts, to the same lengths.

    There is one call per attempt, as in a loop with a barrier between attempts.
    """
    if not episodes:
        return 0.0
    engine.reset_prefix_cache()
    began = time.perf_counter()
    for number in range(len(episodes[0].attempts)):
        attempts = [episode.attempts[number] for episode in episodes]
        lengths = [len(attempt.completion_ids) for attempt in attempts]
        engine.generate_to_lengths([attempt.prompt_ids for attempt in attempts], lengths)
    return time.perf_counter() - began
