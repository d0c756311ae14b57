"""A reward that an untrained model sometimes gets, for runs in which the weights must change."""


def reward(problem, text: str) -> float:
    """Return the share of even digits among the characters of an attempt."""
    return sum(character in "02468" for character in text) / max(len(text), 1)
