from pathlib import Path

import pytest

from score_ray.tasks.sandbox import sandbox
from score_ray.tasks.sandbox.sandbox import may_become
from score_ray.tasks.sandbox.visible_files import PYTHON, visible_files


def test_python_and_its_library_are_shown_where_they_are():
    shown = visible_files(())["shown"]
    assert shown[PYTHON] == PYTHON
    assert all(path == place for path, place in shown.items())


@pytest.mark.parametrize(
    ("uids", "gids", "groups", "root", "possible"),
    [
        ("0 0 4294967295", "0 0 4294967295", "allow", True, True),
        ("0 0 4294967295", "0 0 4294967295", "allow", False, False),
        ("0 1000 1", "0 1000 1", "deny", True, False),
        ("0 1000 1\n1 100000 65536", "0 1000 1\n1 100000 65536", "allow", True, True),
        ("0 1000 1\n1 100000 65536", "0 1000 1", "allow", True, False),
        ("0 0 65536", "0 0 65536", "deny", True, False),
    ],
)
def test_root_of_a_namespace_may_become_a_user_only_if_there_is_one(
    tmp_path, monkeypatch, uids, gids, groups, root, possible
):
    monkeypatch.setattr(sandbox.os, "geteuid", lambda: 0 if root else 1000)
    for name, text in {"uid_map": uids, "gid_map": gids, "setgroups": groups}.items():
        Path(tmp_path, name).write_text(f"{text}\n")
    assert may_become(30_000, tmp_path) is possible
