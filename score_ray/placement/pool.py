"""The rollout actors as one: an actor that is lost is replaced, and nothing else is.

An actor sits in a seat. When it dies or falls silent a new one takes the seat, and serves as
soon as it has the current weights and has been checked on them. What it owed is dealt to the
others at once: what an episode is does not depend on who samples it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray

from score_ray.placement.actors import RolloutActor
from score_ray.placement.calls import STARTING, Calls, Retries, Tell
from score_ray.placement.cluster import Place
from score_ray.types import Episode, LearnerLost, Lost, Problem, SamplingPlan
from score_ray.weights.probe import Probe

TICK = 1.0  # seconds between two looks at who is late
SAMPLING, LOADING = "sampling", "loading weights"


class Seat:
    """A place among the rollout actors, and who is in it now."""

    def __init__(self, number: int, place: Place, make: tuple) -> None:
        self.who, self._place, self._make = f"rollout actor {number}", place, make
        self.lost_at = 0.0  # 0: has the actor it began with

    def fill(self, weights: tuple | None) -> None:
        """Put a new actor in; it serves when all calls in `joining` have been answered."""
        self.actor: Any = self._place.start(RolloutActor, *self._make)
        self.joining: list[Any] = [self.actor.join.remote(weights)]
        self.seen = time.monotonic()


class Round:
    """One call of `sample`: which episodes are missing, and who owes them."""

    def __init__(self, problems: Sequence[Problem], samples: int) -> None:
        self.missing = {(problem.index, n) for problem in problems for n in range(samples)}
        self.undealt = list(problems)
        self.streams: dict[Any, tuple[Seat, Sequence[Problem]]] = {}

    def take(self, episodes: Sequence[Episode]) -> list[Episode]:
        """Those of the episodes that have not come before."""
        fresh = [e for e in episodes if (e.problem.index, e.sample) in self.missing]
        self.missing -= {(e.problem.index, e.sample) for e in fresh}
        return fresh

    def release(self, seat: Seat) -> None:
        """Nobody owes any more what this seat does."""
        owing = {index for index, _ in self.missing}
        for stream in [s for s, (owner, _) in self.streams.items() if owner is seat]:
            _, share = self.streams.pop(stream)
            self.undealt += [problem for problem in share if problem.index in owing]

    def busy(self) -> set[Seat]:
        """The seats that owe something."""
        return {seat for seat, _ in self.streams.values()}


class RolloutPool:
    """All rollout actors."""

    def __init__(
        self,
        places: Sequence[Place],
        make: tuple[Any, Callable[[], Any]],
        calls: Calls,
        retries: Retries,
        tell: Tell,
    ) -> None:
        """`make` is what a rollout actor is made from: engine options and a prompter's maker."""
        self._calls, self._retries, self._tell = calls, retries, tell
        self._restarts = 0
        self._parts: Sequence[Any] = ()
        self._probe: Probe | None = None
        self._gaps: dict[str, float] = {}
        self._seats = [Seat(number, place, make) for number, place in enumerate(places)]
        for seat in self._seats:
            seat.fill(None)

    def wait_ready(self) -> None:
        """Return when every engine is up; one that is lost before that is replaced."""
        nothing = Round([], 0)
        while any(seat.joining for seat in self._seats):
            self._wait(nothing)
        self._retries.refill()

    def take_restarts(self) -> int:
        """How many rollout actors were replaced since this was last asked."""
        taken, self._restarts = self._restarts, 0
        return taken

    def sample(self, problems: Sequence[Problem], plan: SamplingPlan) -> Iterator[list[Episode]]:
        """Stream every episode exactly once, from whoever has it."""
        current = Round(problems, plan.samples)
        while current.missing or current.streams:
            self._deal(current, plan)
            fresh = current.take(self._wait(current))
            if fresh:
                yield fresh
        self._retries.refill()

    def load_weights(self, parts: Sequence[Any], probe: Probe) -> dict[str, float]:
        """Have every engine load the parts, which Ray shares per node; the mismatch by actor.

        Actors that are still starting, or are lost on the way, load them when they join.
        Raises WeightMismatch for an engine that does not serve them, LearnerLost if a part of
        them is gone.
        """
        self._parts, self._probe, self._gaps = parts, probe, {}
        began, refs = time.monotonic(), {}
        for seat in self._seats:
            ref = seat.actor.load_weights.remote(parts, probe.version, probe.rows)
            if seat.joining:
                seat.joining.append(ref)
            else:
                refs[seat] = ref
        for seat, ref in refs.items():
            try:
                scores = self._calls.gather(LOADING, {seat.who: ref}, began=began)[0]
            except LearnerLost:
                self._parts, self._probe = (), None
                raise
            except Lost as lost:
                self._replace(seat, lost)
            else:
                self._gaps[seat.who] = probe.check(scores, seat.who)
        while not self._gaps:
            self._wait(Round([], 0))
        return self._gaps

    def offline_seconds(self, episodes: Sequence[Episode]) -> float:
        """Seconds of vLLM's own offline generation, each actor on its share."""
        count = len(self._seats)
        return max(
            self._calls.gather(
                "generating offline",
                {
                    seat.who: seat.actor.offline_seconds.remote(list(episodes[number::count]))
                    for number, seat in enumerate(self._seats)
                    if episodes[number::count]
                },
            )
        )

    def peak_memory(self) -> dict[str, float]:
        """GiB per rollout actor."""
        refs = {seat.who: seat.actor.peak_memory.remote() for seat in self._seats}
        return dict(zip(refs, self._calls.gather("telling its memory", refs), strict=True))

    def _weights(self) -> tuple | None:
        """What an actor loads to serve the current weights."""
        return (self._parts, self._probe.version, self._probe.rows) if self._probe else None

    def _deal(self, current: Round, plan: SamplingPlan) -> None:
        """Give out what nobody owes, evenly over those who serve; without any it waits."""
        serving = [seat for seat in self._seats if not seat.joining]
        busy = current.busy()
        for number, seat in enumerate(serving):
            share = current.undealt[number :: len(serving)]
            if share:
                sample = seat.actor.sample.options(num_returns="streaming")
                current.streams[sample.remote(share, plan)] = seat, share
                seat.seen = seat.seen if seat in busy else time.monotonic()
        if serving:
            current.undealt = []

    def _wait(self, current: Round) -> list[Episode]:
        """The next episodes, none after a tick; looks after the lost, the late and the new."""
        joining = {seat.joining[0]: seat for seat in self._seats if seat.joining}
        waiting = [*current.streams, *joining]
        ready, _ = ray.wait(waiting, num_returns=1, timeout=TICK) if waiting else ([], [])
        found: list[Episode] = []
        for ref in ready:
            seat = joining[ref] if ref in joining else current.streams[ref][0]
            try:
                if ref in joining:
                    self._welcome(seat, ref)
                else:
                    found += self._read(current, ref, seat)
            except LearnerLost:
                # The engine itself is up, and newer weights may be on their way to it.
                seat.joining.remove(ref)
                if seat.joining:
                    continue
                self._parts, self._probe = (), None
                raise
            except Lost as lost:
                current.release(seat)
                self._replace(seat, lost)
        self._replace_late(current)
        return found

    def _read(self, current: Round, stream: Any, seat: Seat) -> list[Episode]:
        try:
            episodes = self._calls.fetch(next(stream), seat.who, SAMPLING)
        except StopIteration:
            del current.streams[stream]
            return []
        now = time.monotonic()
        self._calls.took(SAMPLING, now - seat.seen)
        seat.seen = now
        return episodes

    def _welcome(self, seat: Seat, ref: Any) -> None:
        """One call of a new actor was answered; after the last one it serves."""
        scores = self._calls.fetch(ref, seat.who, STARTING)
        seat.joining.remove(ref)
        if seat.joining:
            return
        if self._probe:
            self._gaps[seat.who] = self._probe.check(scores, seat.who)
        if seat.lost_at:
            seconds = time.monotonic() - seat.lost_at
            self._tell("rollout_actor", seat.who, "serves again", seconds=round(seconds, 1))

    def _replace_late(self, current: Round) -> None:
        busy = current.busy()
        for seat in self._seats:
            doing = STARTING if seat.joining else SAMPLING
            if not (seat.joining or seat in busy):
                continue
            if time.monotonic() - seat.seen > self._calls.allowed(doing):
                current.release(seat)
                self._replace(seat, self._calls.late(seat.who, doing))

    def _replace(self, seat: Seat, lost: Lost) -> None:
        """Put a new actor in a lost one's seat; raise RunError when that is hopeless."""
        self._tell("rollout_actor", seat.who, f"{lost.how} while {lost.doing}; being replaced")
        self._retries.spend(lost)
        self._restarts += 1
        seat.lost_at = time.monotonic()
        ray.kill(seat.actor)
        seat.fill(self._weights())
