"""Entry of the Python runtime; small, because Python keeps no bytecode of the file it is started with."""

import builtins
import sys

# Set-up makes the bytecode of these files; at run time their folder is read-only.
sys.dont_write_bytecode = True
sys.path.insert(0, __file__.rpartition("/")[0])
if not hasattr(builtins, "exit"):
    # Started without `site`, which costs time and reads folders of the host.
    builtins.exit = builtins.quit = sys.exit

from hearth_runtime import main  # noqa: E402

main()
