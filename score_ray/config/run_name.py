"""Which names of runs can be folders in the folder of --runs."""

LONGEST = 240  # bytes; most file systems allow 255, of which files beside the folder need some


def folder_name(name: str) -> str:
    """Return the name of a run; raise ValueError, saying what is wrong, if it is no such folder.

    A `/` in it makes folders inside each other.
    """
    if not name.isprintable():
        raise ValueError(f"{name!r} holds a control character or a line break; take it out")
    for part in name.split("/"):
        if part in ("", ".", ".."):
            raise ValueError(
                f"{name!r} is no folder below the folder of --runs; use a name such as my_run, and "
                "--runs for another place"
            )
        if part != part.strip():
            raise ValueError(f"{name!r} begins or ends with a space; take it out")
        if len(part.encode()) > LONGEST:
            raise ValueError(
                f"{part[:20]!r}... has {len(part.encode())} bytes; at most {LONGEST} fit"
            )
    return name
