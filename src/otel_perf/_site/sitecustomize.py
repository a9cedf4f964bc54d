"""How `otel-perf run` comes into an interpreter: its folder is first in PYTHONPATH, so this runs before the program.

It leaves no trace: its folder goes from sys.path, itself from sys.modules, and the sitecustomize that it shadows is
imported in its place. Plain enough for any Python, because the program's interpreter may be another than ours.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

import os
import sys

SITE = "OTEL_PERF_SITE"  # this folder; the package lies beside it
RUN = "OTEL_PERF_RUN"
STARTED = "OTEL_PERF_STARTED"
CHILDREN = "OTEL_PERF_CHILDREN"
INSTRUMENT = ("opentelemetry-instrument", "opentelemetry.instrumentation.auto_instrumentation")
HELPERS = ("from multiprocessing.resource_tracker ", "from multiprocessing.forkserver ")
folder = os.path.dirname(os.path.abspath(__file__))


def leave():
    """Take this folder out of sys.path, and this module out of sys.modules; return the module."""
    sys.path[:] = [entry for entry in sys.path if entry == "" or os.path.abspath(entry) != folder]
    sys.path_importer_cache.pop(folder, None)
    return sys.modules.pop("sitecustomize", None)


def load():
    """Return the package's runtime, found without sys.path, where it could be shadowed or shadow something."""
    import _frozen_importlib
    import _frozen_importlib_external

    package = os.path.dirname(folder)
    spec = _frozen_importlib_external.spec_from_file_location(
        "otel_perf", os.path.join(package, "__init__.py"), submodule_search_locations=[package]
    )
    module = sys.modules["otel_perf"] = _frozen_importlib.module_from_spec(spec)  # type: ignore[arg-type]
    try:
        spec.loader.exec_module(module)  # type: ignore[union-attr]
        from otel_perf import runtime
    except BaseException:
        sys.modules.pop("otel_perf", None)
        raise
    return runtime


def boot():
    """Begin to record this interpreter; return the package's runtime, None if it cannot be."""
    if sys.version_info < (3, 11):
        complain("Python %d.%d is older than 3.11" % sys.version_info[:2])
        return None
    try:
        runtime = load()
        runtime.boot()
    except Exception as error:
        complain("%s: %s" % (type(error).__name__, error))
        return None
    return runtime


def complain(what):
    """Say in one line why nothing is recorded."""
    try:
        sys.stderr.write("otel-perf: nothing is recorded: %s\n" % (what,))
    except Exception:  # there may be no stderr
        pass


def begin():
    """Record this interpreter, if it is the program's or a child of its own; return the package's runtime if so."""
    site = os.environ.get(SITE)
    if not site or is_subinterpreter():
        return None
    if sys.version_info >= (3, 11) and is_instrument():
        sys.addaudithook(stay_first)
        return None
    children = os.environ.get(CHILDREN, "").strip().lower() not in ("0", "false", "off", "no")
    pid, _, at = os.environ.get(STARTED, "").partition(":")
    first = at.isdecimal() and pid in (str(os.getpid()), str(os.getppid()))
    if not children:
        forget(site)
        runtime = boot() if first else None
        os.environ.pop(RUN, None)
        return runtime
    if sys.version_info < (3, 11) and not first:  # said once, by the program that `run` started
        return None
    helper = [word for word in getattr(sys, "orig_argv", ())[1:8] if word.startswith(HELPERS)]
    if not helper:
        return boot()
    if helper[0].startswith(HELPERS[1]):  # what it forks are children of the program, it itself is not
        os.register_at_fork(after_in_child=forked)
    return None


def is_instrument():
    """Say whether this is opentelemetry-instrument, which becomes the program once it has set its environment."""
    return any(os.path.basename(word) in INSTRUMENT for word in sys.orig_argv[1:3])


def stay_first(event, _arguments):
    """Put our folder in front of the one in which opentelemetry-instrument has a sitecustomize; that one comes next."""
    if event == "os.exec":
        entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry != folder]
        entries.insert(0, folder)
        os.environ["PYTHONPATH"] = os.pathsep.join(entries)


def is_subinterpreter():
    """Say whether this is an interpreter inside another one's process: that one is recorded."""
    try:
        import _signal  # type: ignore[import-not-found]

        _signal.signal(_signal.SIGINT, _signal.getsignal(_signal.SIGINT))
    except ValueError:  # only the main interpreter's main thread may
        return True
    except Exception:  # no such module, or a handler that Python did not set
        return False
    return False


def forget(site):
    """Take our way into interpreters out of the environment, so that this program's children are as without us."""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if entries[0] == site:
        del entries[0]
    if entries:
        os.environ["PYTHONPATH"] = os.pathsep.join(entries)
    else:
        os.environ.pop("PYTHONPATH", None)
    os.environ.pop(SITE, None)


def forked():
    """Record a process that a multiprocessing fork server has forked; what that forks in its turn is the runtime's."""
    global booted
    if not booted:
        booted = True
        runtime = boot()
        if runtime is not None:
            runtime.end_pre_init()


booted = False
this = leave()  # held, because Python 2 empties a module that nobody holds
found = begin()
try:
    # If there is none, the ImportError goes through us to site.py, which forgives it, and sys.modules stays clean.
    import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
except BaseException as error:
    if sys.version_info >= (3, 11):
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next  # as if it had not come through us
    raise
finally:
    if found is not None:
        found.end_pre_init()
