"""Entry of the Python runtime; small, because Python keeps no bytecode of the file it is started with. Its argument names a bundle that bundle.py made
for this interpreter: the bytecode of all modules in one file, which saves each boot the search for them. Without one they are imported."""

import builtins
import marshal
import sys

folder = __file__.rpartition("/")[0]
# Set-up makes the bytecode of these files; at run time their folder is read-only.
sys.dont_write_bytecode = True
sys.path.insert(0, folder)
if not hasattr(builtins, "exit"):
    # Started without `site`, which costs time and reads folders of the host.
    builtins.exit = builtins.quit = sys.exit


def load_bundle(name):
    """In a function, so that nothing of it stays in memory."""
    with open(f"{folder}/.bundle/{name}", "rb") as file:
        modules = marshal.load(file)
    for name, code in modules:
        module = sys.modules[name] = type(sys)(name)
        module.__file__ = f"{folder}/{name}.py"
        exec(code, module.__dict__)


try:
    load_bundle(sys.argv.pop(1))
except (IndexError, OSError, EOFError, ValueError, TypeError):
    # Never made, or by somebody who may not write here: only slower.
    pass

from hearth_runtime import main  # noqa: E402

main()
