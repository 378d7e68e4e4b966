"""What a runtime does before its VM becomes a snapshot, and in each clone after it. User code imports it for its hooks:
`before(fn)` and `after(fn)`, called in the order given, awaited if they give something to await; without a snapshot, never."""

import sys

_before = []
_after = []


def before(hook):
    """Calls `hook()` before a snapshot is taken. Usable as a decorator."""
    return _add(_before, hook)


def after(hook):
    """Calls `hook()` in each clone, before its first invocation. Usable as a decorator."""
    return _add(_after, hook)


def _add(hooks, hook):
    if not callable(hook):
        raise TypeError(f"A snapshot hook must be callable, not {type(hook).__name__}.")
    hooks.append(hook)
    return hook


# For the runtime only.


def prepare():
    """Runs the hooks before a snapshot; leaves as little garbage as it can."""
    import gc

    _run(_before)
    gc.collect()


def restored():
    """Runs the hooks after a restore."""
    _run(_after)


def reseed(seed):
    """Makes every source of randomness this clone's own; `seed` is hex digits of the kernel's. os.urandom, secrets and uuid4 ask the kernel each time.
    The clock is a day back, which makes OpenSSL draw from the kernel anew."""
    random = sys.modules.get("random")
    if random is not None:
        random.seed()
    ssl = sys.modules.get("_ssl")
    if ssl is not None:
        ssl.RAND_add(bytes.fromhex(seed), 32.0)
        ssl.RAND_bytes(32)
    tempfile = sys.modules.get("tempfile")
    if tempfile is not None:
        # A generator of names of its own.
        tempfile._name_sequence = None


def _run(hooks):
    from hearth_invoke import run_coroutine

    for hook in hooks:
        outcome = hook()
        if hasattr(outcome, "__await__"):
            run_coroutine(outcome)

