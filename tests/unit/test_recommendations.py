"""What the report says to change: the line, what it saves, and nothing that the numbers or the source do not carry."""

from __future__ import annotations

import os
import textwrap

import pytest

from otel_perf.analysis.advice import explain
from otel_perf.analysis.model import Node, Process
from otel_perf.analysis.sources import Sources, shown
from otel_perf.analysis.startup import build_start

BEGAN = 1_900_000_000_000_000_000  # later than the files of the tests


class Program:
    """A program's files and what was recorded of its start; times in ms."""

    def __init__(self, folder):
        self.folder = folder
        self.nodes = []

    def file(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return str(path)

    def node(self, name, kind, start, end, parent=None, file="", line=0, error=None, **facts):
        made = Node(name, kind, BEGAN + int(start * 1e6), BEGAN + int(end * 1e6), str(len(self.nodes) + 2))
        made.parent_id = parent.span_id if parent is not None else "1"
        made.module = name.removeprefix("import ") if kind == "import" else ""
        made.file, made.line, made.error = file, line, error
        made.facts = {f"otel_perf.{key.replace('__', '.')}": value for key, value in facts.items()}
        if "otel_perf.thread" in made.facts:
            made.facts["thread.id"] = made.facts.pop("otel_perf.thread")
        if file:
            made.facts |= {"code.file.path": file, "code.line.number": line}
        self.nodes.append(made)
        return made

    def imported(self, module, start, end, place="app.py:1", parent=None, **more):
        name, _, line = place.partition(":")
        return self.node(f"import {module}", "import", start, end, parent, str(self.folder / name), int(line), **more)

    def explain(self, end=1000, **root):
        attributes = {"otel_perf.ready": "ready()"}
        attributes |= {f"otel_perf.{key.replace('__', '.')}": value for key, value in root.items()}
        process = Process("run/1", "run", "1", nodes=list(self.nodes), root_attributes=attributes)
        process.root = Node("startup", "startup", BEGAN, BEGAN + int(end * 1e6), "1")
        process.root.facts = attributes
        process.nodes.append(process.root)
        start = build_start(process)
        assert start is not None
        return explain(process, start)

    def why(self, name):
        (found,) = [one.why for one in self.explain().bottlenecks if one.group.name == name]
        return found

    def advice(self, end=1000, **root):
        """Return the texts of the recommendations, the test's folder taken out."""
        return [one.text.replace(f"{self.folder}{os.sep}", "") for one in self.explain(end, **root).recommendations]


@pytest.fixture
def program(tmp_path):
    return Program(tmp_path)


# --- imports that can wait ------------------------------------------------------------------------------------


def test_import_used_only_inside_functions_can_be_moved_there(program):
    program.file(
        "app.py",
        """\
        import pandas
        def export(rows):
            return pandas.DataFrame(rows)
        class Loader:
            def load(self, path):
                return pandas.read_csv(path)
        def main():
            serve(export)
        """,
    )
    program.imported("pandas", 100, 512)

    assert [
        "app.py:1 import pandas: 412 ms of 1 s, used only inside functions (export, Loader.load): import it there"
    ] == (program.advice())


@pytest.mark.parametrize(
    "text",
    [
        "import pandas\nframe = pandas.DataFrame()\n",
        "import pandas\nclass Frame(pandas.DataFrame): ...\n",
        "import pandas\n@pandas.cached\ndef f(): ...\n",
        "import pandas\ndef f(x=pandas.NA): ...\n",
        "import pandas\ndef f(x: pandas.DataFrame): ...\n",
        "import pandas\n__all__ = ['pandas']\n",
        "import pandas\nif True:\n    print(pandas)\n",
        "import pandas\nf = lambda: pandas.NA\n",
    ],
)
def test_import_that_is_needed_while_the_module_is_loaded_is_left_alone(program, text):
    program.file("app.py", text)
    program.imported("pandas", 100, 512)

    assert program.advice() == []


def test_why_of_an_import_says_which_line_needs_it(program):
    program.file("app.py", "import pandas\n\nframe = pandas.DataFrame()\n")
    program.imported("pandas", 100, 512)

    assert "needed while app.py is loaded (line 3)" in program.why("import pandas")


def test_annotations_that_are_not_evaluated_need_nothing(program):
    program.file(
        "app.py",
        """\
        from __future__ import annotations
        import pandas
        frame: pandas.DataFrame
        def f(x: pandas.DataFrame) -> pandas.DataFrame:
            return pandas.concat(x)
        """,
    )
    program.imported("pandas", 100, 512, "app.py:2")

    assert [
        "app.py:2 import pandas: 412 ms of 1 s, used only inside functions (f): import it there"
    ] == program.advice()


@pytest.mark.parametrize(
    "call",
    [
        "load()",
        "if __name__ == '__main__':\n    main()",
        "Loader()",
        "run(main)",
        "with Reader(): pass",
        "settings.load",
    ],
)
def test_function_that_the_start_may_call_needs_its_imports(program, call):
    program.file(
        "app.py",
        f"""\
import pandas
def load():
    return pandas.NA
def main():
    step()
def step():
    load()
class Loader:
    def __init__(self):
        load()
class Reader:
    def __enter__(self):
        load()
{call}
""",
    )
    program.imported("pandas", 100, 512)

    assert program.advice() == []
    assert "used by load, which the start may call" in program.why("import pandas")


def test_call_in_another_file_of_the_program_counts(program):
    program.file("app.py", "import tables\ntables.load()\n")
    program.file("tables.py", "import pandas\ndef load():\n    return pandas.NA\n")
    outer = program.imported("tables", 100, 520)
    program.imported("pandas", 110, 512, "tables.py:1", outer)

    assert program.advice() == []


def test_program_that_a_command_of_a_package_imports_begins_in_its_own_file(program):
    program.file("shop/__init__.py", "from .tables import load\nload()\n")
    program.file("shop/tables.py", "import pandas\ndef load():\n    return pandas.NA\n")
    flask = program.imported("shop", 100, 600, "lib/python3.11/site-packages/flask/cli.py:9")
    tables = program.imported("shop.tables", 110, 590, "shop/__init__.py:1", flask)
    program.imported("pandas", 120, 580, "shop/tables.py:1", tables)

    assert program.advice() == []


def test_what_is_called_behind_ready_is_no_part_of_the_start(program):
    program.file(
        "app.py",
        """\
        import pandas
        import otel_perf as perf
        def export():
            return pandas.NA
        def main():
            perf.ready()
            export()
        main()
        """,
    )
    program.imported("pandas", 100, 512)

    assert len(program.advice()) == 1


def test_function_that_ran_in_the_start_needs_its_imports(program):
    path = program.file("app.py", "import pandas\ndef load():\n    return pandas.NA\n")
    program.imported("pandas", 100, 512)
    program.node("load", "function", 600, 640, None, path, 2).function = "app.load"

    assert program.advice() == []


def test_import_that_nobody_in_the_file_uses_may_have_an_effect(program):
    program.file("app.py", "import plugins\n")
    program.imported("plugins", 100, 300)

    assert [
        "app.py:1 import plugins: 200 ms of 1 s, not used in app.py: leave it out unless loading it has an effect you need"
    ] == program.advice()


def test_names_of_a_package_are_there_for_others(program):
    program.file("shop/__init__.py", "from .models import Order\n")
    program.imported("shop.models", 100, 300, "shop/__init__.py:1")

    assert program.advice() == []


@pytest.mark.parametrize(
    ("statement", "module"),
    [
        ("from shop import models", "shop.models"),
        ("from shop.models import Order", "shop.models"),
        ("from shop.models import Order", "shop"),
        ("import shop.models as m", "shop.models"),
        ("import json, shop", "shop"),
        ("from . import models", "pkg.models"),
        ("from .models import Order", "pkg.models"),
        ("from shop import (\n    models,\n)", "shop.models"),
    ],
)
def test_every_form_of_import_is_understood(program, statement, module):
    names = statement.replace("(", "").replace(")", "").replace(",\n", "").split()[-1]
    program.file("app.py", f"{statement}\ndef later():\n    return {names}\n")
    program.imported(module, 100, 300)

    assert len(program.advice()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    import pandas\nexcept ImportError:\n    pandas = None\ndef f():\n    return pandas\n",
        "from pandas import *\ndef f():\n    return NA\n",
        "import json\n",
        "import pandas(\n",
        "",
    ],
)
def test_where_the_file_does_not_say_nothing_is_said(program, text):
    program.file("app.py", text)
    program.imported("pandas", 100, 512, "app.py:2" if text.startswith("try") else "app.py:1")

    assert program.advice() == []


def test_file_that_changed_after_the_start_is_not_believed(program):
    path = program.file("app.py", "import pandas\ndef f():\n    return pandas.NA\n")
    os.utime(path, ns=(BEGAN + 1, BEGAN + 1))
    program.imported("pandas", 100, 512)

    assert program.advice() == []


def test_import_inside_a_function_is_where_it_belongs(program):
    program.file("app.py", "def main():\n    import pandas\n    return pandas\nmain()\n")
    program.imported("pandas", 100, 512, "app.py:2")

    assert program.advice() == []
    assert "imported by main()" in program.why("import pandas")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="only where pipes have names")
def test_what_a_record_names_is_read_only_if_it_is_a_file(program):
    os.mkfifo(program.folder / "app.py")
    program.imported("pandas", 100, 512)
    program.node("import ../../etc/x", "import", 600, 700, None, "/etc\0", 1)
    program.node("import ..", "import", 700, 800, None, "\ud800", 1)

    assert program.advice() == []


# --- what it saves --------------------------------------------------------------------------------------------


def test_saving_is_not_promised_where_another_module_imports_it_too(program):
    program.file("app.py", "import pandas\nimport plots\ndef f():\n    return pandas.NA\nplots.X\n")
    program.file("plots.py", "try:\n    import pandas\nexcept ImportError:\n    raise\nX = pandas.NA\n")
    program.imported("pandas", 100, 512)
    program.imported("plots", 520, 530, "app.py:2")

    assert program.advice() == []


def test_saving_leaves_out_what_others_import_anyway(program):
    program.file("app.py", "import pandas\nimport numpy\ndef f():\n    return pandas.NA\nX = numpy.array\n")
    outer = program.imported("pandas", 100, 500)
    library = "venv/lib/python3.11/site-packages/pandas/__init__.py:1"
    program.imported("numpy", 200, 300, library, outer)

    assert [
        "app.py:1 import pandas: 300 ms of 1 s (100 ms more are in modules that others import too), "
        "used only inside functions (f): import it there"
    ] == program.advice()


def test_import_of_a_module_that_can_wait_is_told_once_with_all_that_it_brings(program):
    program.file("app.py", "import charts\ndef export():\n    return charts.draw()\n")
    program.file("charts.py", "import pandas\ndef draw():\n    return pandas.NA\n")
    outer = program.imported("charts", 100, 520)
    program.imported("pandas", 110, 510, "charts.py:1", outer)

    assert ["app.py:1 import charts: 420 ms of 1 s, used only inside functions (export): import it there"] == (
        program.advice()
    )


def test_package_that_a_statement_loads_before_the_module_belongs_to_it(program):
    program.file("app.py", "from shop import models\ndef f():\n    return models\n")
    program.imported("shop", 100, 150)
    program.imported("shop.models", 150, 400)

    assert ["app.py:1 import shop.models: 300 ms of 1 s, used only inside functions (f): import it there"] == (
        program.advice()
    )


def test_two_modules_of_one_line_are_told_apart(program):
    program.file("app.py", "import big, small\nX = big.X\ndef f():\n    return small\n")
    program.imported("big", 100, 300)
    program.imported("small", 300, 400)

    assert ["app.py:1 import small: 100 ms of 1 s, used only inside functions (f): import it there"] == program.advice()


def test_import_off_the_critical_path_saves_nothing(program):
    program.file("app.py", "import pandas\nimport slow\ndef f():\n    return pandas.NA, slow\n")
    program.imported("slow", 0, 1000, "app.py:2")
    program.imported("pandas", 100, 512, "app.py:1", thread=7)

    assert [text.split(":")[1] for text in program.advice()] == ["2 import slow"]


@pytest.mark.parametrize(("end", "told"), [(19, False), (21, True)])
def test_less_than_20_ms_is_not_worth_a_line(program, end, told):
    program.file("app.py", "import small\ndef f():\n    return small\n")
    program.imported("small", 0, end)

    assert told == bool(program.advice(end=100))


def test_less_than_2_percent_is_not_worth_a_line(program):
    program.file("app.py", "import small\ndef f():\n    return small\n")
    program.imported("small", 0, 100)

    assert program.advice(end=6000) == []
    assert len(program.advice(end=4000)) == 1


def test_optional_import_that_a_package_tries_is_not_the_users_to_change(program):
    program.imported("brotli", 100, 180, "lib/python3.11/site-packages/urllib3/x.py:9", error="ImportError: no brotli")

    assert program.advice() == []


def test_at_most_five_are_given_the_largest_first(program):
    program.file(
        "app.py", "".join(f"import m{i}\n" for i in range(7)) + "def f():\n    return m0, m1, m2, m3, m4, m5, m6\n"
    )
    for i in range(7):
        program.imported(f"m{i}", 100 * i, 100 * i + 30 + i, f"app.py:{i + 1}")

    assert [text.split()[2] for text in program.advice()] == ["m6:", "m5:", "m4:", "m3:", "m2:"]


# --- everything else ------------------------------------------------------------------------------------------


def test_failed_imports_are_time_for_nothing(program):
    """C2: opt.py takes 80 ms, raises ImportError, and is tried twice."""
    program.imported("opt", 100, 180, "app.py:9", error="ImportError: no opt")
    program.imported("opt", 200, 280, "app.py:11", error="ImportError: no opt")

    assert ["app.py:9 import opt failed twice: 160 ms for nothing: try it once"] == program.advice()


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (
            {"cpu_time": 0.01, "wait__sleep": 0.3},
            "device.py:4 open_port sleeps 300 ms of 1 s: take the sleep out, or do this after ready()",
        ),
        (
            {"cpu_time": 0.01, "wait__child": 0.25, "child_time": 0.25},
            "device.py:5 open_port waits 300 ms of 1 s for a child process: start it earlier, or do this after ready()",
        ),
        (
            {"cpu_time": 0.05, "wait__socket": 0.2, "wait__lock": 0.05},
            "device.py:1 open_port waits 200 ms of 1 s for a socket: do this in a thread, or after ready()",
        ),
        (
            {"cpu_time": 0.05, "wait__file": 0.22, "wait__cpu": 0.03},
            "device.py:1 open_port waits 300 ms of 1 s for a file: do this after ready()",
        ),
        (
            {"cpu_time": 0.05, "wait__file": 0.2, "disk_read": 80_000_000},
            "device.py:1 open_port waits 300 ms of 1 s for the disk (80 MB read): read less, or after ready()",
        ),
        (
            {"cpu_time": 0.29},
            "device.py:1 open_port computes 300 ms of 1 s: do this after ready(), or keep its result",
        ),
        (
            {"cpu_time": 0.29, "gc_time": 0.2},
            "device.py:1 open_port spends 200 ms of 1 s in the garbage collector: fewer objects, or gc.disable() around it",
        ),
    ],
)
def test_function_on_the_path_names_its_line_and_what_it_waits_for(program, facts, text):
    path = program.file(
        "device.py",
        """\
        @perf.profile
        def open_port():
            for _ in range(3):
                time.sleep(0.1)
                subprocess.run(["stty"])
                sock.connect(1)
                sock.sendall(b"")
        """,
    )
    program.node("open_port", "function", 100, 400, None, path, 1, **facts)

    assert [text] == program.advice()


def test_phases_own_code_is_called_so(program):
    path = program.file("app.py", "with perf.phase('Devices'):\n    time.sleep(0.3)\n")
    program.node("Devices", "phase", 100, 400, None, path, 1, wait__sleep=0.3)

    assert ["app.py:2 Devices (own code) sleeps 300 ms of 1 s: take the sleep out, or do this after ready()"] == (
        program.advice()
    )


def test_only_call_that_sleeps_is_found_where_functions_are_not_recorded(program):
    program.file("app.py", "import store\nstore.connect()\n")
    program.file("store.py", "import time\ndef connect():\n    time.sleep(0.3)\ndef later():\n    time.sleep(9)\n")
    program.imported("store", 100, 110)
    slept = {"cpu_time": 0.4, "wait__sleep": 0.5}

    assert ["store.py:3 connect sleeps 500 ms of 1 s: take the sleep out, or do this after ready()"] == (
        program.advice(**slept)
    )
    program.file("app.py", "import store, time\nstore.connect()\ntime.sleep(1)\n")
    assert program.advice(**slept) == []


def test_call_that_sleeps_in_a_modules_own_code_is_that_of_its_import_alone(program):
    """A module that a plugin host loads is named by no file; its sleep is not that of the others."""
    program.file("app.py", "import importlib, store\nimportlib.import_module('plugin')\nstore.connect()\n")
    program.file("store.py", "import socket\ndef connect():\n    socket.create_connection(1)\n")
    program.file("plugin.py", "import time\ntime.sleep(0.3)\n")
    program.imported("store", 100, 200, wait__sleep=0.1)
    program.imported("plugin", 200, 500, "app.py:2", wait__sleep=0.3)

    assert ["plugin.py:2 plugin.py sleeps 300 ms of 1 s: take the sleep out, or do this after ready()"] == (
        program.advice(cpu_time=0.1, wait__sleep=0.9)
    )


def test_lock_names_who_else_was_busy(program):
    path = program.file("app.py", "\n")
    program.node("acquire", "function", 100, 400, None, path, 1, cpu_time=0.001, wait__lock=0.29)
    program.node("warm_up", "function", 90, 420, None, path, 7, thread=9, cpu_time=0.3)

    (text,) = [text for text in program.advice() if "acquire" in text]
    assert "waits 300 ms of 1 s for a lock; meanwhile another thread is in warm_up (app.py:7)" in text


def test_garbage_collector_is_told_of_the_whole_start(program):
    program.imported("pandas", 100, 500, gc_time=0.15, cpu_time=0.4)

    assert [
        "the garbage collector takes 180 ms of 1 s, most of it in import pandas (app.py:1): "
        "gc.disable() at the top of app.py, gc.freeze() and gc.enable() at ready()"
    ] == program.advice(gc_time=0.18)


def test_garbage_collector_in_one_function_is_told_once(program):
    path = program.file("app.py", "\n")
    program.node("build", "function", 100, 400, None, path, 7, cpu_time=0.29, gc_time=0.2)

    assert [
        "the garbage collector takes 200 ms of 1 s, most of it in build (app.py:7): "
        "gc.disable() at the top of app.py, gc.freeze() and gc.enable() at ready()"
    ] == program.advice(gc_time=0.2)


def test_garbage_collector_before_the_programs_first_file_is_not_promised(program):
    program.imported("flask", 100, 300, "bin/flask:5", gc_time=0.06, cpu_time=0.19)
    app = program.imported("app", 300, 900, "lib/python3.11/site-packages/flask/cli.py:9", gc_time=0.1, cpu_time=0.6)
    program.imported("pandas", 310, 800, parent=app, gc_time=0.09, cpu_time=0.4)

    assert [
        "the garbage collector takes 120 ms of 1 s, most of it in import pandas (app.py:1): "
        "gc.disable() at the top of app.py, gc.freeze() and gc.enable() at ready()"
    ] == program.advice(gc_time=0.18)


def test_garbage_collector_of_an_installed_program_is_not_the_users_to_change(program):
    program.imported("black", 100, 800, "bin/black:5", gc_time=0.15, cpu_time=0.6)

    assert program.advice(gc_time=0.18) == []


@pytest.mark.parametrize("facts", [{}, {"cpu_time": 0.01}, {"cpu_time": 0.01, "wait__other": 0.2, "wait__cpu": 0.1}])
def test_nothing_is_recommended_where_the_numbers_do_not_say_why(program, facts):
    path = program.file("app.py", "\n")
    program.node("mystery", "function", 100, 400, None, path, 1, **facts)

    assert program.advice() == []


def test_functions_of_installed_packages_are_not_the_users_to_change(program):
    path = program.file("lib/python3.11/site-packages/db/__init__.py", "\n")
    program.node("connect", "function", 100, 400, None, path, 1, wait__socket=0.3)

    assert program.advice() == []


def test_modules_that_have_no_bytecode_now_will_be_compiled_again(program):
    program.file("app.py", "import one\nimport two\n")
    program.file("one.py", "\n")
    program.file("two.py", "\n")
    program.imported("one", 100, 110)
    program.imported("two", 200, 210, "app.py:2")
    cold = {"startup__cold": ["bytecode", "page cache"], "startup__compiled": 42, "disk_read": 80_000_000}

    assert program.explain(**cold).cold == [
        "42 modules compiled from source: write-protected, or PYTHONDONTWRITEBYTECODE?",
        "files read from the disk (80 MB)",
    ]


def test_start_that_was_never_recorded_to_its_end_is_explained_as_far_as_it_went(program):
    program.imported("pandas", 0, 400)
    process = Process("run/1", "run", "1", nodes=list(program.nodes))
    start = build_start(process)
    assert start is not None

    assert explain(process, start).bottlenecks[0].group.name == "import pandas"


# --- what a program loads -------------------------------------------------------------------------------------


def test_modules_are_followed_through_packages_and_guards_but_not_into_functions(program):
    entry = program.file(
        "app.py",
        """\
        import shop.web
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            import hidden
        def f():
            import lazy
        """,
    )
    program.file("shop/__init__.py", "")
    program.file("shop/web.py", "from . import models\nfrom ..nowhere import x\nimport base64 as b, fast\n")
    program.file("shop/models.py", "try:\n    import fast\nexcept ImportError:\n    import slow\n")
    for name in ("fast", "slow", "lazy", "hidden"):
        program.file(f"{name}.py", "")

    loaded = Sources([(entry, 1)], [entry], BEGAN).loaded_without("", (0, 0))

    assert {"shop", "shop.web", "shop.models", "fast", "slow", "base64", "typing"} == loaded.keys()


def test_lines_of_installed_packages_are_read_as_far_as_they_run_at_import(program):
    entry = program.file("app.py", "import lib\n")
    folder = "venv/lib/python3.11/site-packages"
    program.file(
        f"{folder}/lib/__init__.py",
        """\
        from .a import (
            one,  # the first
            two,
        )
        if sys.version_info > (3, 8):
            from lib.b \\
                import x
        if TYPE_CHECKING:
            from .never import y
        def f():
            from .lazy import z
        class C:
            from .odd import w
        """,
    )
    for name in ("a", "b", "never", "lazy", "odd"):
        program.file(f"{folder}/lib/{name}.py", "")
    places = [(entry, 1), (str(program.folder / folder / "lib/__init__.py"), 1)]

    assert {"lib", "lib.a", "lib.b"} == Sources(places, [entry], BEGAN).loaded_without("", (0, 0)).keys()


@pytest.mark.parametrize(
    ("file", "line", "text"),
    [
        ("/srv/shop/app.py", 3, "/srv/shop/app.py:3"),
        ("app.py", 0, "app.py"),
        ("", 7, ""),
        ("/venv/lib/python3.11/site-packages/pip/__main__.py", 22, "pip/__main__.py:22"),
        ("/usr/lib/python3.11/selectors.py", 415, "selectors.py:415"),
        ("<frozen runpy>", 88, "<frozen runpy>:88"),
    ],
)
def test_places_are_as_short_as_a_reader_needs(file, line, text):
    assert text == shown(file, line)


def test_place_below_the_working_directory_is_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert "shop.py:3" == shown(str(tmp_path / "shop.py"), 3)
