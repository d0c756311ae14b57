"""A reward that a random model gets now and then, for runs whose weights should move."""


def reward(problem, text: str) -> float:
    """The share of even digits among an attempt's characters."""
    return sum(character in "02468" for character in text) / max(len(text), 1)
