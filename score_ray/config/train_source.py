"""A data set of a list of several to train on."""

import os
from collections.abc import Sequence

from pydantic import PositiveFloat

from score_ray.config.section import Section


class TrainSource(Section):
    """One of several data sets to train on."""

    # A file, a folder or a Hugging Face data set: PLACE[:CONFIG][@SPLIT].
    path: str
    # Share of the problems of training, in proportion to the weights of the other data sets.
    weight: PositiveFloat = 1.0
    # Math: as the keys of the same names in `task`, which apply where these are empty.
    question: str = ""
    question_column: str = ""
    answer_column: str = ""


def check_train_sources(sources: Sequence[TrainSource]) -> None:
    """Raise ValueError unless every data set has a path of its own, and one way to a question."""
    if not sources:
        raise ValueError("train: the list of data sets is empty")
    # "./a.jsonl" is the same file as "a.jsonl".
    paths = [os.path.abspath(os.path.expanduser(source.path)) for source in sources]
    for source, path in zip(sources, paths, strict=True):
        if not source.path or paths.count(path) > 1:
            raise ValueError(f"train: every data set needs a path of its own; got {source.path!r}")
    for source in sources:
        if source.question and source.question_column:
            raise ValueError(
                f"train: {source.path} has both question and question_column; set one of them"
            )
