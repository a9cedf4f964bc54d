"""What SECURITY.md promises: who may read a run, where nothing is written, what is never shown, what is not obeyed."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SRC = str(Path(__file__).resolve().parents[2] / "src")
E = "OTEL_EXPORTER_OTLP_"
PROTOCOLS = ("http/protobuf", "grpc", "http/json")

_spec = importlib.util.spec_from_file_location("hostile_run", Path(__file__).with_name("hostile_run.py"))
assert _spec is not None
assert _spec.loader is not None
hostile_run = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hostile_run)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX: permissions, links and pipes")


def without_rights() -> list[str]:
    """Return the words that start a program with no more rights than its user's: root without its capabilities."""
    if os.geteuid():
        return []
    words = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    try:
        subprocess.run([*words, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs setpriv: root may write everywhere")
    return words


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- the run folder ---------------------------------------------------------------------------------------------------

LONG = """
    import os, sys, time
    if len(sys.argv) > 1:
        os.umask(int(sys.argv[1], 8))
    import otel_perf as perf
    perf.init(service="shop")
    perf.ready()
    perf.counter("orders").add(1)

    @perf.profile(span_threshold=0)
    def long():
        time.sleep(1.6)  # long enough for open.json

    long()
    print("done")
"""


@pytest.mark.parametrize("umask", ["000", "777", "022", "277"])
@pytest.mark.parametrize("way", ["init", "run"])
def test_run_folder_is_its_owners_alone_whatever_the_umask(umask, way, write, run_program, tmp_path, unused_port):
    write("program.py", LONG)
    shell = ["bash", "-c", f'umask {umask}; exec "$@"', "bash"]
    before = [sys.executable, "-m", "otel_perf", "run", "--"] if way == "run" else []

    done = run_program(
        [*without_rights(), *shell, *before, sys.executable, "program.py"],
        None,
        env={"PYTHONPATH": SRC, f"{E}ENDPOINT": f"http://127.0.0.1:{unused_port}"},
    )

    assert (0, b"done\n") == (done.returncode, done.stdout)
    assert {"cannot send"} == {b.decode().split(": ")[1][:11] for b in done.stderr.splitlines()}
    folder = tmp_path / ".otel-perf"
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}
    assert {0o700} == {mode for path, mode in modes.items() if path.is_dir()}
    assert {0o600} == {mode for path, mode in modes.items() if not path.is_dir()}
    names = {path.name for path in modes}
    files = {"traces.jsonl", "metrics.jsonl", "logs.jsonl", "open.json", "sent.json", "sent.lock", "alive.lock"}
    assert files | {".gitignore"} <= names


def test_folders_above_the_run_folder_can_be_used_whatever_the_umask(write, run_program, tmp_path):
    write("program.py", LONG)

    done = run_program(
        [*without_rights(), sys.executable, "program.py", "777"],
        None,
        env={"PYTHONPATH": SRC, "OTEL_PERF_FOLDER": "a/b/runs"},
    )

    assert (0, b"done\n", b"") == (done.returncode, done.stdout, done.stderr)
    assert {0o700} == {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").rglob("*") if path.is_dir()}


SWAPPED = """
    import os, sys, time
    from pathlib import Path
    import otel_perf as perf
    perf.init(service="shop")
    perf.ready()
    with perf.profile("before", span_threshold=0):
        time.sleep(1.2)
    (process,) = Path(".otel-perf").glob(f"*/{os.getpid()}/")
    victim = Path("elsewhere").absolute()
    what = sys.argv[1]
    if what in ("run", "process"):
        folder = process.parent if what == "run" else process
        folder.rename(folder.with_name("moved"))
        folder.symlink_to(victim if what == "process" else victim / "run")
    elif what == "base":
        os.rename(".otel-perf", "moved")
        os.symlink(victim / "base", ".otel-perf")
        (victim / "base" / process.parent.name / process.name).mkdir(parents=True)
    else:
        file = process / what
        file.unlink(missing_ok=True)
        file.symlink_to(victim / "new")
    if what == "run":
        (victim / "run" / process.name).mkdir()
    before = sorted(victim.rglob("*"))

    @perf.profile(span_threshold=0)
    def after():
        time.sleep(1.8)  # long enough for open.json

    after()
    perf.counter("orders").add(1)
    perf.shutdown()
    print(before == sorted(victim.rglob("*")))
"""
LINKED = ("base", "run", "process", "traces.jsonl", "metrics.jsonl", "logs.jsonl", "open.json", "open.json.new", "sent.json", "sent.json.new", "sent.lock", "alive.lock")  # fmt: skip


@pytest.mark.parametrize("what", LINKED)
def test_no_link_is_followed_that_somebody_puts_in_the_place_of_a_folder_or_a_file(
    what, write, run_program, tmp_path, receiver
):
    write("program.py", SWAPPED)
    write("elsewhere/run/precious", "precious")
    there = receiver()

    done = run_program([sys.executable, "program.py", what], None, env={"PYTHONPATH": SRC, f"{E}ENDPOINT": there.http})
    before = files_below(tmp_path / "elsewhere")
    replay = [sys.executable, "-m", "otel_perf", "replay", ".otel-perf", "--endpoint", there.http, "--again"]
    again = run_program(replay, None, env={"PYTHONPATH": SRC})

    assert (0, b"True\n") == (done.returncode, done.stdout), done.stderr
    assert all(line.startswith(b"otel-perf: ") for line in done.stderr.splitlines()), done.stderr
    assert again.returncode in (0, 1, 2)
    assert {"run/precious": b"precious"} == before == files_below(tmp_path / "elsewhere")


@pytest.mark.parametrize("way", ["init", "run"])
@pytest.mark.parametrize("what", [".otel-perf", ".otel-perf/.gitignore"])
def test_link_that_is_there_before_is_not_followed(what, way, write, run_program, tmp_path, otel_perf):
    write("program.py", LONG if way == "init" else LONG.replace('perf.init(service="shop")', ""))
    victim = tmp_path / "elsewhere"
    victim.mkdir()
    link = tmp_path / what
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(victim if what == ".otel-perf" else victim / "new")
    before = [*otel_perf, "run", "--"] if way == "run" else []

    done = run_program([*before, sys.executable, "program.py"], None, env={"PYTHONPATH": SRC})

    assert (0, b"done\n") == (done.returncode, done.stdout)
    assert [] == list(victim.iterdir())
    if what == ".otel-perf":
        (line,) = done.stderr.decode().splitlines()
        assert line.startswith("otel-perf: ")
        assert "symbolic link" in line


@pytest.mark.parametrize(
    "name", ["traces.jsonl", "open.json.new", "sent.json.new", "sent.lock", "alive.lock", "open.json", "sent.json"]
)
@pytest.mark.timed
def test_pipe_in_place_of_a_file_lets_nobody_wait(name, write, run_program, receiver):
    write("program.py", SWAPPED.replace('file.symlink_to(victim / "new")', "os.mkfifo(file)"))
    write("elsewhere/run/precious", "precious")
    there = receiver()
    env = {"PYTHONPATH": SRC, f"{E}ENDPOINT": there.http}

    begun = time.monotonic()
    done = run_program([sys.executable, "program.py", name], None, env=env)
    replay = [sys.executable, "-m", "otel_perf", "replay", ".otel-perf", "--endpoint", there.http, "--again"]
    again = run_program(replay, None, env={"PYTHONPATH": SRC}, timeout=10)
    after = run_program([sys.executable, "program.py", "nothing"], None, env=env)  # which sends what the first has left

    assert (0, b"True\n", 0) == (done.returncode, done.stdout, after.returncode), done.stderr
    assert again.returncode in (0, 1, 2)
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    "name", ["../../outside", "/etc/shop", "..", "a/b\\c", "\x1b[2J", "x" * 300, "C:\\shop", "nul:", " "]
)
def test_name_of_a_service_is_never_a_path(name, run_python, tmp_path):
    place = tmp_path / "a" / "b" / "place"
    place.mkdir(parents=True)
    before = files_below(tmp_path)

    done = run_python(
        f"import otel_perf as perf\nperf.init(service={name!r}, version={name!r})\nperf.ready()\n",
        cwd=place,
        env={"OTEL_SERVICE_NAME": name},
    )

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    new = {path for path in files_below(tmp_path) if path not in before and path != "script.py"}
    assert new
    assert all(
        re.fullmatch(r"a/b/place/\.otel-perf/(\.gitignore|[\dT-]+/\d+/[a-z]+\.(jsonl?|lock))", path) for path in new
    ), new


def test_nothing_of_the_environment_or_the_command_line_is_written_down(run_python, tmp_path):
    secret = "open-sesame-1234"

    done = run_python(
        LONG.replace("len(sys.argv) > 1", "False"),
        args=["--token", secret],
        env={
            "API_TOKEN": secret,
            f"{E}HEADERS": f"authorization=Bearer%20{secret}",
            f"{E}ENDPOINT": f"http://user:{secret}@127.0.0.1:1/?key={secret}",
        },
    )

    assert 0 == done.returncode
    assert secret not in done.stdout + done.stderr
    found = files_below(tmp_path / ".otel-perf")
    assert len(found) > 5
    assert [] == [name for name, content in found.items() if secret.encode() in content]


# --- TLS and headers --------------------------------------------------------------------------------------------------

# Protocol, and whether the program ends at once: at its exit all but gRPC goes by the standard library.
SENDING = [*((protocol, False) for protocol in PROTOCOLS), ("http/protobuf", True), ("http/json", True)]

SENT = """
    import sys
    import otel_perf as perf
    perf.init(service="shop")
    with perf.profile("one", span_threshold=0):
        pass
    perf.counter("orders").add(1)
    perf.ready()
    sys.stdin.readline()
"""


@pytest.fixture
def send(
    write: Callable[..., Path], start_program: Callable[..., Any], wait_for: Callable[..., Any]
) -> Callable[..., None]:
    """Return a function that runs a program that sends, until *came* is true or, *at_exit*, only as it ends."""

    def run(came: Callable[[], Any], at_exit: bool, **env: str) -> None:
        write("program.py", SENT)
        program = start_program(
            [sys.executable, "program.py"], None, env={"PYTHONPATH": SRC, **env}, stdin=subprocess.PIPE
        )
        if not at_exit:
            wait_for(came)
        said = program.communicate(b"\n", timeout=30)
        assert (0, (b"", b"")) == (program.returncode, said)
        assert came()

    return run


@pytest.fixture(scope="module")
def authority(make_authority: Callable[..., Path]) -> Path:
    """Return a folder with a test authority, and a server's and two clients' certificates that it signed."""
    here = "DNS:localhost,IP:127.0.0.1"
    return make_authority(localhost=(here, 2), client=(here, 2), other=(here, 2))


@pytest.mark.parametrize(("protocol", "at_exit"), SENDING)
def test_each_signal_has_its_own_authority_client_certificate_and_headers(protocol, at_exit, send, receiver, authority):
    """The general variables are wrong for all but the one signal that has none of its own."""
    served = ("--certificate", authority / "localhost.pem", "--key", authority / "localhost.key")
    mutual = receiver(*served, "--client-ca", authority / "ca.pem")
    tls = receiver(*served)
    plain = receiver()
    path = "" if protocol == "grpc" else "/v1/"

    def own(signal: str, url: str, **more: str) -> dict[str, str]:
        names = {"endpoint": url + (path and f"{path}{signal}"), "headers": f"x-signal={signal}", **more}
        return {f"{E}{signal.upper()}_{name.upper()}": value for name, value in names.items()}

    send(
        lambda: mutual.spans() and plain.requests() and "orders" in {point["metric"] for point in tls.points()},
        at_exit,
        **{
            f"{E}PROTOCOL": protocol,
            f"{E}ENDPOINT": plain.url(protocol),
            f"{E}HEADERS": "x-signal=logs,authorization=Bearer%20a%2Cb%3Dc",
            f"{E}CERTIFICATE": str(authority / "other.pem"),
            f"{E}CLIENT_KEY": str(authority / "other.key"),
            f"{E}CLIENT_CERTIFICATE": str(authority / "other.pem"),
            **own(
                "traces",
                mutual.url(protocol),
                certificate=str(authority / "ca.pem"),
                client_key=str(authority / "client.key"),
                client_certificate=str(authority / "client.pem"),
            ),
            **own("metrics", tls.url(protocol), certificate=str(authority / "ca.pem"), compression="gzip"),
        },
    )

    assert "one" in {span["name"] for span in mutual.spans()}
    for there, signal in ((mutual, "traces"), (tls, "metrics"), (plain, "logs")):
        requests = there.requests()
        assert {signal} == {request["signal"] for request in requests}
        assert {signal} == {request["headers"]["x-signal"] for request in requests}
    assert {"Bearer a,b=c"} == {request["headers"]["authorization"] for request in plain.requests()}
    assert not any("authorization" in request["headers"] for request in (*mutual.requests(), *tls.requests()))


@pytest.mark.parametrize(("protocol", "at_exit"), SENDING)
def test_user_of_the_url_and_header_reach_the_receiver_whatever_netrc_says(
    protocol, at_exit, send, write, receiver, tmp_path
):
    write("netrc", "machine localhost\nlogin eve\npassword evil\n", mode=0o600)
    there = receiver()

    send(
        lambda: {"traces", "metrics", "logs"} == {request["signal"] for request in there.requests()},
        at_exit,
        **{
            "NETRC": str(tmp_path / "netrc"),
            f"{E}PROTOCOL": protocol,
            f"{E}COMPRESSION": "deflate",
            f"{E}ENDPOINT": there.url(protocol).replace("://", "://user:open%20sesame@"),
            f"{E}LOGS_HEADERS": "authorization=Bearer%20mine",
        },
    )

    basic = "Basic " + base64.b64encode(b"user:open sesame").decode()
    got = {(request["signal"], request["headers"]["authorization"]) for request in there.requests()}
    assert {("traces", basic), ("metrics", basic), ("logs", "Bearer mine")} == got


# --- secrets ----------------------------------------------------------------------------------------------------------

SECRETS = ("sesame-1234", "hunter22", "quer1-key", "dXNlcjpodW50ZXIyMg")  # the last is the second in base64

OF_GRPC = re.compile(r"[IWE]\d{4} [\d:.]+ +\d+ \w+\.cc:\d+\] ")  # what its C core says by itself, to the program too

LOGGED = """
    import logging, sys
    logging.basicConfig(filename="app.log", level=logging.DEBUG)
    import otel_perf as perf
    perf.init(service="shop")
    with perf.profile("one", span_threshold=0):
        pass
    perf.ready()
    sys.stdin.readline()
"""


@pytest.fixture
def told(
    write: Callable[..., Path], start_program: Callable[..., Any], wait_for: Callable[..., Any], tmp_path: Path
) -> Callable[..., str]:
    """Return a function that runs a program that sends until it has said certain words, and gives what it said.

    No secret was told anywhere: on stderr, in the program's log, in the run.
    """

    def run(words: str, url: str, protocol: str, **more: str) -> str:
        write("program.py", LOGGED)
        file = tmp_path / "stderr"
        with file.open("wb") as stderr:
            program = start_program(
                [sys.executable, "program.py"],
                None,
                stdin=subprocess.PIPE,
                stderr=stderr,
                env={
                    "PYTHONPATH": SRC,
                    f"{E}PROTOCOL": protocol,
                    f"{E}ENDPOINT": url.replace("://", "://user:hunter22@"),
                    f"{E}HEADERS": "authorization=Bearer%20sesame-1234,x-key=sesame-1234",
                    f"{E}METRICS_ENDPOINT": f"{url}/v1/metrics?key=quer1-key",
                    f"{E}METRICS_HEADERS": "x-key=sesame-1234,authorization=Basic%20dXNlcjpodW50ZXIyMg==",
                    f"{E}LOGS_ENDPOINT": f"{url.replace('://', '://user:hunter22@')}/v1/logs?key=quer1-key",
                    **more,
                },
            )
        wait_for(lambda: words in ours(file))
        out, _ = program.communicate(b"\n", timeout=30)
        said = file.read_text(encoding="utf-8")
        assert (0, b"") == (program.returncode, out), said
        places = {"stderr": said, "app.log": (tmp_path / "app.log").read_text(encoding="utf-8")}
        places |= {name: content.decode() for name, content in files_below(tmp_path / ".otel-perf").items()}
        assert [] == [(place, secret) for place, text in places.items() for secret in SECRETS if secret in text]
        for line in said.splitlines():
            assert line.isprintable(), line
            assert line.startswith("otel-perf: ") or OF_GRPC.match(line), line
        return ours(file)

    return run


def ours(file: Path) -> str:
    """Return our own lines of what was said on stderr."""
    return "".join(line for line in file.read_text(encoding="utf-8").splitlines(True) if line.startswith("otel-perf: "))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("status", [401, 400, 503])
def test_receiver_that_repeats_credentials_and_colours_gets_neither_onto_the_terminal(status, protocol, told, receiver):
    there = receiver()
    there.behave(status=status, echo=True)

    assert "\\x1b[31m" in told("***", there.url(protocol), protocol), "what it said is shown, but for the secrets"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_server_that_cannot_be_reached_or_trusted_is_named_without_secrets(
    protocol, told, receiver, authority, unused_port
):
    there = receiver("--certificate", authority / "localhost.pem", "--key", authority / "localhost.key")

    told("cannot send", f"http://127.0.0.1:{unused_port}", protocol)
    told("cannot send", there.url(protocol), protocol)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_proxy_with_a_password_is_named_without_it(protocol, told, receiver, unused_port):
    proxy = f"http://user:hunter22@127.0.0.1:{unused_port}"

    told(
        "cannot send",
        receiver().url(protocol),
        protocol,
        http_proxy=proxy,
        https_proxy=proxy,
        grpc_proxy=proxy,
        no_proxy="",
        NO_PROXY="",
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_settings_that_cannot_be_taken_are_named_without_secrets(protocol, told):
    more = {
        f"{E}TRACES_HEADERS": "sesame-1234,x=sesame-1234%0A,%C3%A9=sesame-1234",
        f"{E}TRACES_ENDPOINT": "http://user:hunter22@collector:port/?key=quer1-key",
        f"{E}LOGS_ENDPOINT": "http://user:hunter22@:port?key=quer1-key",
        "OTEL_RESOURCE_ATTRIBUTES": "sesame-1234,a=b",
        f"{E}CLIENT_KEY": "-----BEGIN PRIVATE KEY-----\nsesame-1234\n-----END PRIVATE KEY-----",
        "OTEL_EXPORTER_ZIPKIN_ENDPOINT": "user:hunter22@zipkin",
    }

    said = told(f"{E}TRACES_ENDPOINT", "ftp://user:hunter22@collector", protocol, **more)

    for name in (f"{E}TRACES_ENDPOINT", "OTEL_RESOURCE_ATTRIBUTES", f"{E}CLIENT_KEY", "OTEL_EXPORTER_ZIPKIN_ENDPOINT"):
        assert f"otel-perf: {name}: " in said
    assert "PRIVATE" not in said


# --- a hostile run ----------------------------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Return a function that runs a command of ours in an empty folder, which stays empty, within some seconds."""
    place = tmp_path / "here"
    place.mkdir()

    def run(*words: str, limit: float = 20) -> subprocess.CompletedProcess[bytes]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON"))}
        code = "import sys, resource; from otel_perf.cli import main; status = main(sys.argv[1:])\n"
        code += "open(sys.argv[0] if 0 else '../peak', 'w').write(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        done = subprocess.run(
            [sys.executable, "-c", f"{code}sys.exit(status)", *words],
            cwd=place,
            env={**environ, "PYTHONPATH": SRC, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            timeout=limit,
            check=False,
        )
        assert done.returncode in (0, 1, 2), done
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        assert [] == list(place.iterdir())
        return done

    return run


def obeyed(output: bytes, allowed: str = "\n") -> list[str]:
    """Return the lines of *output* with something in them that a terminal obeys."""
    text = output.decode("utf-8")
    return [line for line in text.split("\n") if not all(one.isprintable() or one in allowed for one in line)]


SHOWN = [
    ("report",),
    ("report", "--all", "--width", "60"),
    ("report", "--json"),
    ("report", "--markdown"),
    ("report", "--list"),
    ("check",),
    ("check", "--json"),
    ("doctor",),
    ("doctor", "--json"),
    ("export", "--format", "folded"),
    ("export", "--format", "speedscope"),
    ("export", "--format", "chrome"),
    ("export", "--format", "pprof"),
]


@pytest.mark.parametrize("shift", range(0, len(hostile_run.TEXTS), 4))
def test_run_of_a_stranger_is_shown_and_nothing_in_it_is_obeyed(shift, command, tmp_path):
    base = tmp_path / "runs"
    hostile_run.write(base, shift)
    before = files_below(tmp_path)

    for words in SHOWN:
        done = command(*words, "--folder", str(base))

        assert [] == obeyed(done.stderr), words
        if "pprof" in words:
            assert done.stdout.startswith(b"\x1f\x8b")
        else:
            assert [] == obeyed(done.stdout, "\u00a0"), words  # folded stacks: no break before a number
        if "--json" in words or words[-1] in ("speedscope", "chrome"):
            json.loads(done.stdout)
    for words in (
        ("report", "../../../etc"),
        ("report", "\x1b[2J"),
        ("report", "--process", "..\x1b[2J"),
        ("export", "--format", "folded", "/"),
    ):
        done = command(*words, "--folder", str(base))
        assert 2 == done.returncode
        assert [] == obeyed(done.stderr), words
    (tmp_path / "peak").unlink()
    assert before == files_below(tmp_path), "nothing is written, and nothing changed"


def test_markdown_of_a_run_of_a_stranger_has_no_markup_of_his(command, tmp_path):
    for shift in (0, 5, 10):
        base = tmp_path / str(shift)
        hostile_run.write(base, shift)

        text = command("report", "--markdown", "--folder", str(base)).stdout.decode()

        bare = re.sub(r"\\.", "", text)
        assert "<" not in re.sub(r"</?(code|details|summary|sub)>", "", bare)
        assert bare.count("<details>") == bare.count("</details>")
        assert not re.search(r"\]\(", bare)


# --- bounds -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def process(tmp_path: Path) -> Path:
    """Return the folder of a process that recorded something."""
    folder = tmp_path / "runs" / "2026-11-25T10-15-02" / "4194305"
    folder.mkdir(parents=True)
    for name, lines in hostile_run.files(hostile_run.Texts(0)).items():
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


READING = [words for words in SHOWN if words[-1] in ("report", "check", "doctor", "--list", "chrome", "--json")]


def test_line_of_a_gigabyte_is_refused_with_a_count_and_not_loaded(command, process, tmp_path):
    """The file is sparse: what is read costs no disk."""
    for name in ("traces.jsonl", "metrics.jsonl", "logs.jsonl"):
        with (process / name).open("r+b") as file:
            file.truncate(file.seek(0, os.SEEK_END) + 2**30)
            file.seek(0, os.SEEK_END)
            file.write(b"\n")

    for words in (("report",), ("check",), ("export", "--format", "chrome"), ("doctor",)):
        done = command(*words, "--folder", str(tmp_path / "runs"), limit=60)

        peak = int((tmp_path / "peak").read_text()) / 1024
        assert peak < 256, f"{words[0]}: {peak:.0f} MB"  # the longest line that is read has 64
        if words[0] != "doctor":
            assert 3 == done.stderr.count(b"1 damaged line (longer than 64 MB)"), done.stderr
        print(f"{words[0]}: at most {peak:.0f} MB")


@pytest.mark.parametrize(
    "content",
    [b"[" * 2_000_000, b'{"a":' * 300_000, b"9" * 2_000_000, b"\0" * 10],
    ids=["deep", "deeper", "number", "zeros"],
)
def test_nesting_and_numbers_without_end_cost_their_line(content, command, process, tmp_path):
    for name in ("traces.jsonl", "metrics.jsonl", "logs.jsonl"):
        with (process / name).open("ab") as file:
            file.write(content + b"\n")
    for name in ("open.json", "sent.json"):
        (process / name).write_bytes(content)

    for words in READING:
        command(*words, "--folder", str(tmp_path / "runs"))
        assert int((tmp_path / "peak").read_text()) / 1024 < 128


def test_open_and_sent_json_of_a_gigabyte_are_not_loaded(command, process, tmp_path):
    for name in ("open.json", "sent.json"):
        with (process / name).open("wb") as file:
            file.truncate(2**30)

    for words in READING:
        command(*words, "--folder", str(tmp_path / "runs"))
        assert int((tmp_path / "peak").read_text()) / 1024 < 128


def test_path_of_a_hundred_thousand_open_calls_is_no_work(command, process, tmp_path):
    entries = [{"path": ["a"] * 100_000, "since": "1"}, {"path": ["a"] * 100_000 + ["b"], "since": "1"}]
    (process / "open.json").write_text(json.dumps({"version": 1, "open": entries}), encoding="utf-8")

    command("report", "--folder", str(tmp_path / "runs"), limit=10)

    assert int((tmp_path / "peak").read_text()) / 1024 < 128


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "socket"])
@pytest.mark.parametrize(
    "name", ["open.json", "sent.json", "metrics.jsonl", "logs.jsonl", "traces.000000000000000.jsonl"]
)
def test_reader_does_not_hang_on_what_is_no_file(name, kind, command, process, tmp_path):
    there = process / name
    there.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(there)
    elif kind == "device":
        there.symlink_to("/dev/zero")
    elif kind == "folder":
        there.mkdir()
    else:
        subprocess.run(
            [sys.executable, "-c", "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])", name],
            cwd=process,
            check=True,
        )

    for words in READING:
        done = command(*words, "--folder", str(tmp_path / "runs"), limit=10)
        if name.endswith(".json"):
            assert (0 if words[0] == "report" else done.returncode) == done.returncode, "the rest is read"


def test_source_that_a_run_names_is_only_read_where_it_is_a_file_of_bounded_size(command, process, tmp_path):
    """A report looks into the program's own files, to say which line to change: it follows no pipe and no device."""
    os.mkfifo(tmp_path / "app.py")
    (tmp_path / "zero.py").symlink_to("/dev/zero")
    text = (process / "traces.jsonl").read_text(encoding="utf-8")
    for name, other in (
        ("/etc/passwd", tmp_path / "app.py"),
        ("../../../../../../tmp/otel-perf-pwned", tmp_path / "zero.py"),
    ):
        text = text.replace(json.dumps(name), json.dumps(str(other)))
    (process / "traces.jsonl").write_text(text, encoding="utf-8")

    assert b"root:" not in command("report", "--folder", str(tmp_path / "runs"), limit=10).stdout


# --- git --------------------------------------------------------------------------------------------------------------


def test_git_sees_no_run_and_a_note_that_is_there_already_stays(run_python, tmp_path):
    if shutil.which("git") is None:
        pytest.skip("needs git")

    def git(*words: str) -> str:
        return subprocess.check_output(
            ["git", *words], cwd=tmp_path, text=True, env={**os.environ, "HOME": str(tmp_path)}
        )

    git("init", "-q")
    run_python("import otel_perf as perf\nperf.init()\nperf.ready()\n")

    assert "?? script.py\n" == git("status", "--porcelain", "--untracked-files=all")

    note = tmp_path / ".otel-perf" / ".gitignore"
    note.write_text("# mine\n*\n", encoding="utf-8")
    run_python("import otel_perf as perf\nperf.init()\nperf.ready()\n")

    assert "# mine\n*\n" == note.read_text(encoding="utf-8")
