"""A reward that differs between the samples of an untrained model, so that updates do something."""


def reward(problem, text: str) -> float:
    """Return the share of even digits among the characters of an attempt."""
    return sum(character in "02468" for character in text) / max(len(text), 1)
