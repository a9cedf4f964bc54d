"""Programs that nobody here wrote, unchanged, under ``otel-perf run``."""

from __future__ import annotations

import importlib.util
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

PYTHON = sys.executable
posix = pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM is POSIX")


def needs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"needs {module}")


@pytest.fixture
def whole(spans_of, assert_whole_tree, tmp_path):
    """Return a function that gives the spans of the program's process, checked: one root, whole tree."""

    def read(imports: str = "") -> list[dict]:
        spans = spans_of(tmp_path)
        assert_whole_tree(spans)
        assert ["startup"] == [span["name"] for span in spans if span["parent_id"] is None and not span["links"]]
        if imports:
            assert f"import {imports}" in {span["name"] for span in spans}
        return spans

    return read


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answer_of(port: int, process: subprocess.Popen[bytes], path: str = "/") -> bytes:
    """Return what the server answers, once it does."""
    until = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.read()
        except OSError:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until, "no answer"
            time.sleep(0.05)


def served(start_program, command: list[str], path: str = "/", number: int = signal.SIGTERM) -> list[tuple[bytes, int]]:
    """Run a server plain and recorded, ask it once, end it by a signal; return what it answered and its exit codes."""
    results = []
    for options in (None, ()):
        port = free_port()
        process = start_program([word.replace("PORT", str(port)) for word in command], options)
        answer = answer_of(port, process, path)
        process.send_signal(number)
        process.communicate(timeout=30)
        results.append((answer, process.returncode))
    return results


def test_pip_list(same_as_plain, whole):
    needs("pip")
    result = same_as_plain([PYTHON, "-m", "pip", "list", "--disable-pip-version-check"])

    assert 0 == result.returncode
    whole("pip._internal.commands.list")


@posix
def test_http_server_ended_by_sigterm(start_program, whole, tmp_path):
    (tmp_path / "index.html").write_text("hello", encoding="utf-8")

    plain, recorded = served(start_program, [PYTHON, "-m", "http.server", "PORT", "--bind", "127.0.0.1"])

    assert (b"hello", -signal.SIGTERM) == plain == recorded
    (root,) = [span for span in whole("http.client") if span["name"] == "startup"]
    assert root["attributes"]["otel_perf.ready"] in ("listen", "signal")  # it is asked once and ended at once
    assert "http.server" == root["resource"]["service.name"]


def test_pytest_on_a_small_folder(run_program, whole, tmp_path):
    (tmp_path / "test_sample.py").write_text(
        "import pytest\n@pytest.fixture\ndef two(): return 2\ndef test_good(two): assert two == 2\n"
        "def test_bad(two): assert two == 3\n@pytest.mark.parametrize('i', [1, 2])\ndef test_many(i, capsys): print(i)\n",
        encoding="utf-8",
    )
    command = [PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "test_sample.py"]
    plain, recorded = run_program(command, None), run_program(command)

    timing = re.compile(rb"in \d+\.\d+s")
    assert 1 == plain.returncode == recorded.returncode
    assert timing.sub(b"", plain.stdout) == timing.sub(b"", recorded.stdout)
    assert plain.stderr == recorded.stderr
    whole("pytest")


def test_pytest_of_an_installed_package(run_program, whole):
    """Few packages install their tests; sortedcontainers brings some as examples in its docstrings."""
    needs("sortedcontainers")
    command = [
        PYTHON,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "--doctest-modules",
        "--pyargs",
        "sortedcontainers",
    ]
    plain, recorded = run_program(command, None), run_program(command)

    timing = re.compile(rb"in \d+\.\d+s")
    assert plain.returncode == recorded.returncode
    assert timing.sub(b"", plain.stdout) == timing.sub(b"", recorded.stdout)
    whole("pytest")


@posix
def test_flask_run(start_program, whole, tmp_path):
    needs("flask")
    (tmp_path / "shop.py").write_text(
        "import flask\napp = flask.Flask(__name__)\n@app.get('/')\ndef index(): return 'from flask'\n", encoding="utf-8"
    )

    plain, recorded = served(start_program, [PYTHON, "-m", "flask", "--app", "shop", "run", "--port", "PORT"])

    assert (b"from flask", -signal.SIGTERM) == plain == recorded
    whole("flask")


ASGI = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"from uvicorn"})
"""


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_uvicorn(start_program, whole, tmp_path, number):
    needs("uvicorn")
    (tmp_path / "asgi.py").write_text(ASGI, encoding="utf-8")
    command = [PYTHON, "-m", "uvicorn", "--lifespan", "off", "--port", "PORT", "asgi:app"]

    plain, recorded = served(start_program, command, number=number)

    assert b"from uvicorn" == plain[0]
    assert plain == recorded
    whole("uvicorn")


@posix
def test_uvicorn_with_two_workers(start_program, spans_of, assert_whole_tree, tmp_path):
    needs("uvicorn")
    (tmp_path / "asgi.py").write_text(ASGI, encoding="utf-8")
    command = [PYTHON, "-m", "uvicorn", "--lifespan", "off", "--workers", "2", "--port", "PORT", "asgi:app"]

    plain, recorded = served(start_program, command)

    assert b"from uvicorn" == plain[0]
    assert plain == recorded
    spans = spans_of(tmp_path)
    assert_whole_tree(spans)
    starts = [span for span in spans if span["name"] == "startup"]
    assert 3 == len({span["resource"]["service.instance.id"] for span in starts})
    assert 1 == len(list((tmp_path / ".otel-perf").glob("*-*")))


def test_django_check(same_as_plain, whole, tmp_path):
    needs("django")
    (tmp_path / "manage.py").write_text(
        "import os, sys\nos.environ['DJANGO_SETTINGS_MODULE'] = 'settings'\n"
        "from django.core.management import execute_from_command_line\nexecute_from_command_line(sys.argv)\n",
        encoding="utf-8",
    )
    (tmp_path / "settings.py").write_text(
        "SECRET_KEY = 'x'\nINSTALLED_APPS = ['django.contrib.auth', 'django.contrib.contenttypes', 'django.contrib.admin',\n"
        "    'django.contrib.messages', 'django.contrib.sessions']\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}}\n"
        "DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'\nSILENCED_SYSTEM_CHECKS = ['admin.E403', 'admin.E408', "
        "'admin.E409', 'admin.E410']\n",
        encoding="utf-8",
    )

    result = same_as_plain([PYTHON, "manage.py", "check"])

    assert (0, b"System check identified no issues") == (result.returncode, result.stdout[:33])
    whole("django.core.management")


def test_a_script_with_a_syntax_error(same_as_plain, whole, tmp_path):
    (tmp_path / "wrong.py").write_text("def f(:\n    pass\n", encoding="utf-8")

    result = same_as_plain([PYTHON, "wrong.py"])

    assert 1 == result.returncode
    assert b"SyntaxError" in result.stderr
    whole()


def test_a_script_that_exits_7(same_as_plain, whole, tmp_path):
    (tmp_path / "seven.py").write_text("import sys\nsys.exit(7)\n", encoding="utf-8")

    assert 7 == same_as_plain([PYTHON, "seven.py"]).returncode
    (root,) = [span for span in whole() if span["name"] == "startup"]
    assert "exit" == root["attributes"]["otel_perf.ready"]


@pytest.mark.parametrize("name", ["pip", "pytest", "django-admin", "flask"])
def test_console_scripts_of_this_environment(same_as_plain, whole, name):
    script = Path(PYTHON).with_name(name)
    if not script.exists():
        pytest.skip(f"needs {name}")

    assert 0 == same_as_plain([script, "--version"]).returncode
    whole()


def test_a_program_of_the_standard_library_on_stdin(same_as_plain, whole):
    result = same_as_plain([PYTHON, "-m", "json.tool", "--compact"], input=b'{"a": [1,   2]}')

    assert b'{"a":[1,2]}' == result.stdout.strip()
    whole()
