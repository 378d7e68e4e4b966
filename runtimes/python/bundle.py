"""`python -I -S bundle.py NAME`: makes .bundle/NAME for the interpreter that runs it: `[module name, bytecode]` in the order in which bootstrap.py runs
them. Their lines say where a sandbox has them: /var/runtime."""

import marshal
import os
import sys

folder = os.path.dirname(os.path.abspath(__file__))
# Each after those it imports.
names = ("json", "errors", "context", "wire", "loader", "output", "invoke", "runtime")
modules = [f"hearth_{name}" for name in names]


def main(name):
    bundle = []
    for module in modules:
        with open(f"{folder}/{module}.py", "rb") as file:
            bundle.append((module, compile(file.read(), f"/var/runtime/{module}.py", "exec", dont_inherit=True, optimize=2)))
    target = f"{folder}/.bundle/{name}"
    os.makedirs(os.path.dirname(target), exist_ok=True)
    # Others may read it meanwhile, or make it too.
    made = f"{target}.{os.getpid()}"
    with open(made, "wb") as file:
        marshal.dump(bundle, file)
    os.rename(made, target)


main(sys.argv[1])
