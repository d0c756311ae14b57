from pathlib import Path

import pytest

from score_ray.config.loading import load
from score_ray.config.run_name import folder_name
from score_ray.types import ConfigError


@pytest.mark.parametrize(
    "name",
    ["arithmetic", "exp[1]", "a*b?", "user@host: #2", "größe 数", "group/run", "...", "a b", "-x"],
)
def test_a_name_that_stays_below_the_folder_of_runs_is_taken(name):
    assert folder_name(name) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "no folder below"),
        (".", "no folder below"),
        ("..", "no folder below"),
        ("../escape", "no folder below"),
        ("a/../../b", "no folder below"),
        ("/tmp/run", "no folder below"),
        ("run/", "no folder below"),
        ("a//b", "no folder below"),
        ("a/./b", "no folder below"),
        ("run ", "begins or ends with a space"),
        (" run", "begins or ends with a space"),
        ("a /b", "begins or ends with a space"),
        ("a\nb", "control character"),
        ("a\x1b[31mb", "control character"),
        ("a\x00b", "control character"),
        ("n" * 241, "has 241 bytes; at most 240 fit"),
        ("ö" * 121, "has 242 bytes; at most 240 fit"),
    ],
)
def test_any_other_name_is_refused_in_one_line(name, message):
    with pytest.raises(ConfigError, match=f"^name: .*{message}") as caught:
        load(Path("configs/arithmetic.yaml"), [f"name={name}"])
    assert "\n" not in str(caught.value)
