from dataclasses import replace

from score_ray.rollout.episodes import derive_seed, sample
from score_ray.rollout.prompter import Prompter
from score_ray.tasks.arithmetic_model import character_tokenizer
from score_ray.tasks.prompts import Prompts
from score_ray.types import Completion, Finish, Problem, Request, SamplingPlan

PROBLEMS = [Problem(i, f"{i}1+22=", "") for i in range(1, 5)]
PLAN = SamplingPlan(seed=5, samples=2, attempts=2, max_tokens=4, temperature=1.0)


class FakeEngine:
    """An engine that derives the steps and the token of a request from its seed."""

    version = 3

    def __init__(self):
        self.running: dict[str, list] = {}
        self.log: list[str] = []

    def add(self, request: Request) -> None:
        self.running[request.key] = [1 + request.seed % 5, request]
        self.log.append(f"start {request.key}")

    def step(self) -> list[Completion]:
        ended = []
        for key, entry in list(self.running.items()):
            entry[0] -= 1
            if not entry[0]:
                seed = self.running.pop(key)[1].seed
                self.log.append(f"end {key}")
                ended.append(Completion(key, (seed % 10, 13), (-1.0, -2.0), "x", Finish.STOP))
        return ended


def episodes(problems, engine=None):
    prompter = Prompter(character_tokenizer(), Prompts("{question}", "?"))
    found = [e for part in sample(engine or FakeEngine(), prompter, problems, PLAN) for e in part]
    return {(e.problem.index, e.sample): e for e in found}


def test_every_problem_gets_every_sample_once():
    assert sorted(episodes(PROBLEMS)) == [(i, s) for i in range(1, 5) for s in range(2)]


def test_an_episode_does_not_depend_on_the_others_in_the_batch():
    together = episodes(PROBLEMS)
    apart = episodes(PROBLEMS[0::2]) | episodes(PROBLEMS[1::2])
    assert together == apart


def test_a_second_attempt_starts_before_the_slowest_first_one_has_ended():
    engine = FakeEngine()
    episodes(PROBLEMS, engine)
    first_second = min(
        i for i, x in enumerate(engine.log) if x.startswith("start") and x[-1] == "1"
    )
    last_first = max(i for i, x in enumerate(engine.log) if x.startswith("end") and x[-1] == "0")
    assert first_second < last_first


def test_attempt_2_continues_the_tokens_of_attempt_1_and_keeps_the_version():
    one, two = episodes(PROBLEMS)[1, 0].attempts
    assert two.prompt_ids == (*one.prompt_ids, *one.completion_ids, 12)
    assert one.version == two.version == 3


def test_a_given_first_attempt_is_not_sampled_and_the_second_one_continues_it():
    engine = FakeEngine()
    found = episodes([replace(PROBLEMS[0], given="75")], engine)
    assert {key for key in engine.log if key.startswith("start")} == {"start 1/0/1", "start 1/1/1"}
    one, two = found[1, 0].attempts
    assert (one.given, one.text, one.completion_ids) == (True, "75", (7, 5, 13))
    assert one.logprobs == (0.0, 0.0, 0.0)
    assert two.prompt_ids == (*one.prompt_ids, 7, 5, 13, 12)
    assert not two.given


def test_feedback_is_asked_for_between_attempts_and_stays_in_the_prompt():
    engine = FakeEngine()
    prompter = Prompter(character_tokenizer(), Prompts("{question}", "?", feedback="+="))
    (e,) = (
        e for part in sample(engine, prompter, PROBLEMS[:1], replace(PLAN, samples=1)) for e in part
    )
    started = [x for x in engine.log if x.startswith("start")]
    assert started == ["start 1/0/0", "start 1/0/1/1", "start 1/0/1"]
    one, two = e.attempts
    asked = (*one.prompt_ids, *one.completion_ids, 10, 11)
    assert two.prompt_ids[: len(asked)] == asked
    assert two.prompt_ids[len(asked) + 1 :] == (13, 12)  # the reply's end, and the correction
    assert (one.feedback, two.feedback) == ("", "x")


def test_seeds_are_fixed_numbers_and_differ_in_every_part():
    assert derive_seed(1, 2) == derive_seed(1, 2)
    assert len({derive_seed(a, b) for a in range(20) for b in range(20)}) == 400
    assert all(0 <= derive_seed(i) < 2**63 for i in range(50))
