"""A data set of a list of several to train on."""

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
    paths = [source.path for source in sources]
    for path in paths:
        if not path or paths.count(path) > 1:
            raise ValueError(f"train: every data set needs a path of its own; got {path!r}")
    for source in sources:
        if source.question and source.question_column:
            raise ValueError(
                f"train: {source.path} has both question and question_column; set one of them"
            )
