"""The documents name only files that exist."""

import re
import subprocess
from pathlib import Path

import pytest

PAGES = [
    *map(Path, ("README.md", "tests/README.md", "cluster/README.md")),
    *sorted(Path("docs").glob("*.md")),
]
LINK = re.compile(r"\]\((?!http)([^)#]+)")
SOURCE = re.compile(r"`([\w./-]+\.py)`")


@pytest.fixture(scope="module")
def files() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout of git")
    return [f"/{line}" for line in listed.stdout.splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_linked_file_exists(page):
    targets = LINK.findall(page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_named_source_file_exists(page, files):
    names = SOURCE.findall(page.read_text())
    assert [name for name in names if not any(f.endswith(f"/{name}") for f in files)] == []
