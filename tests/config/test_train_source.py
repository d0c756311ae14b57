import pytest

from score_ray.config.schema import TaskConfig
from score_ray.config.train_source import TrainSource, check_train_sources


def source(path="a.jsonl", **keys):
    return TrainSource(path=path, **keys)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ((), "train: the list of data sets is empty"),
        ((source(), source("")), "needs a path of its own; got ''"),
        ((source(weight=2.0), source()), r"needs a path of its own; got 'a\.jsonl'"),
        ((source(), source("./a.jsonl")), r"needs a path of its own; got 'a\.jsonl'"),
        ((source(), source("b/../a.jsonl")), r"needs a path of its own; got 'a\.jsonl'"),
        ((source(question="{a}", question_column="b"),), "a.jsonl has both question and"),
    ],
)
def test_lists_that_cannot_be_trained_on_are_refused(sources, message):
    with pytest.raises(ValueError, match=message):
        check_train_sources(sources)
    with pytest.raises(ValueError, match=message):
        TaskConfig(name="math", train=sources, test="t.jsonl")


def test_the_weights_are_those_of_the_paths():
    task = TaskConfig(name="math", train=(source(weight=2.5), source("b")), test="t.jsonl")
    assert task.weights == {"a.jsonl": 2.5, "b": 1.0}
    assert TaskConfig(name="math", train="a.jsonl").weights == {}


def test_a_template_and_a_column_for_the_question_exclude_each_other():
    with pytest.raises(ValueError, match=r"question_column must not be set too; it is 'q'"):
        TaskConfig(name="math", question="{a} {b}", question_column="q")
    own = source(question_column="q")
    assert TaskConfig(name="math", question="{a} {b}", train=(own,)).train_sources == (own,)
