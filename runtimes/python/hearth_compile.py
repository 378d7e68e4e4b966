"""Answers an INVOKE of kind compile: the bytecode of every module under the task root, as a file pack."""

import marshal
import os
import sys
import warnings
from _frozen_importlib_external import MAGIC_NUMBER
from _imp import source_hash

from hearth_loader import cache_path

_files_max = 20_000
_bytes_max = 64 * 1024 * 1024


def compile_all(task_root):
    """Yields pack entries: `u16 path length, path, u32 size, bytes`. A file that does not compile is left out: its import says why."""
    warnings.simplefilter("ignore")
    total = 0
    for count, source in enumerate(_sources(task_root)):
        data = _bytecode(source)
        if data is None:
            continue
        path = cache_path(source).encode()
        total += len(data)
        if count >= _files_max or total > _bytes_max:
            return
        yield len(path).to_bytes(2, "big") + path + len(data).to_bytes(4, "big") + data


def _sources(task_root):
    for folder, folders, files in os.walk(os.path.abspath(task_root)):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for file in sorted(files):
            if file.endswith(".py"):
                yield os.path.join(folder, file)


def _bytecode(source):
    """A .pyc with an unchecked hash: valid as long as it lies beside the code it was made from."""
    try:
        with open(source, "rb") as file:
            text = file.read()
        code = compile(text, source, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        print(f"{source} does not compile and has no bytecode.", file=sys.stderr)
        return None
    key = int.from_bytes(MAGIC_NUMBER, "little")
    return MAGIC_NUMBER + (1).to_bytes(4, "little") + source_hash(key, text) + marshal.dumps(code)
