import sys

import pytest

from score_ray.tasks.custom_reward import CustomReward, import_reward
from score_ray.tasks.sums import Sums
from score_ray.types import Problem


def test_a_function_in_the_working_directory_replaces_the_tasks_grading(tmp_path, monkeypatch):
    (tmp_path / "short_words.py").write_text(
        "def reward(problem, text):\n    return len(text) / len(problem.answer)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    task = CustomReward(Sums(held_out=5, largest=9), "short_words:reward")
    assert len(task.problems("test")) == 5
    assert task.grade(Problem(0, "q", "four"), "two!!!") == 1.5


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("score_ray.types", 'not of the form "module:function"'),
        ("no_such_module:f", "cannot import 'no_such_module'"),
        ("score_ray.types:nothing", "types.py has no function 'nothing'"),
        ("score_ray.tasks.arithmetic:__name__", "has no function '__name__'"),
    ],
)
def test_an_error_names_a_place_without_a_function(place, message):
    with pytest.raises(ValueError, match=message):
        import_reward(place)


def test_the_answer_is_read_as_the_task_reads_it():
    assert CustomReward(Sums(), "score_ray.types:Problem").answer("17 + 25 = 042") == "42"
