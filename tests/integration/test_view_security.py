"""``otel-perf view`` answers the browser that was given its address, by its own name, and nobody else; names obey nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><!--",
    "\u2028\u2029",
    "\ud800",
    "\0",
]
PROGRAM = """
import sys, time
import otel_perf as perf
perf.init(service="<b>shop</b>")
for name in {names!r}:
    @perf.profile(name, span_threshold=0)
    def call():
        time.sleep(0.002)
    call()
perf.ready()
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, viewer_module):
    """Return a folder in whose ``.otel-perf/`` a program with hostile names was recorded."""
    folder = tmp_path_factory.mktemp("recorded")
    program = PROGRAM.format(names=HOSTILE)
    subprocess.run([sys.executable, "-c", program], cwd=folder, env=viewer_module.environment(), check=True, timeout=60)
    return folder


@pytest.fixture(scope="module")
def viewer(recorded, make_viewer):
    return make_viewer(recorded)


def assert_guarded(answer):
    assert (POLICY, "nosniff", "no-referrer", "no-store", "same-origin") == tuple(
        answer.headers[name]
        for name in (
            "content-security-policy", "x-content-type-options", "referrer-policy", "cache-control",
            "cross-origin-resource-policy",
        )
    )  # fmt: skip
    assert not [name for name in answer.headers if name.startswith("access-control")]


# --- token and cookie -------------------------------------------------------------------------------------------------


def test_token_is_exchanged_for_a_cookie_that_no_script_gets_and_no_other_site_can_have_sent(viewer):
    """A strict one would not come with a link that is clicked in a web terminal."""
    answer = viewer.ask(f"/?token={viewer.token}", cookie=None)

    assert (303, "/", b"") == (answer.status, answer.headers["location"], answer.body)
    pair, *rest = answer.headers["set-cookie"].split("; ")
    assert viewer.cookie == pair
    assert {"HttpOnly", "SameSite=lax", "Path=/"} == set(rest)
    assert_guarded(answer)


def test_cookie_that_other_servers_of_this_machine_are_sent_too_is_not_the_token(viewer):
    name, _, session = viewer.cookie.partition("=")

    assert len(session) >= 32
    assert session != viewer.token
    assert 403 == viewer.ask("/api/runs", cookie=f"{name}={viewer.token}").status
    assert 403 == viewer.ask(f"/?token={session}", cookie=None).status
    assert 200 == viewer.ask("/api/runs").status


@pytest.mark.parametrize("token", ["", "x", "none%00", "%F0%9F", "a" * 100_000])
def test_wrong_token_gets_nothing(viewer, token):
    answer = viewer.ask(f"/?token={token}", cookie=None)

    assert answer.status in (400, 403)  # 400: longer than any address may be
    assert "set-cookie" not in answer.headers
    assert_guarded(answer)


def test_each_server_has_a_token_of_its_own(recorded, viewer, make_viewer):
    other = make_viewer(recorded)

    assert other.token != viewer.token
    assert 403 == other.ask(f"/?token={viewer.token}", cookie=None).status
    session = viewer.cookie.partition("=")[2]
    assert 403 == other.ask("/api/runs", cookie=f"otel_perf_{other.port}={session}").status


@pytest.mark.parametrize("path", ["/", "/app.js", "/app.css", "/api/runs", "/api/runs/newest/first/events", "/nothing"])
@pytest.mark.parametrize("cookie", [None, "wrong", "other name", "empty"])
def test_without_its_cookie_nothing_is_told(viewer, path, cookie):
    cookies = {
        None: None, "wrong": f"otel_perf_{viewer.port}=wrong", "other name": f"otel_perf={viewer.cookie.partition('=')[2]}",
        "empty": f"otel_perf_{viewer.port}=",
    }  # fmt: skip

    answer = viewer.ask(path, cookie=cookies[cookie])

    assert (403, {"error": "open the address that otel-perf view has printed: it has the token"}) == (
        answer.status,
        answer.json,
    )
    assert_guarded(answer)


def test_token_in_the_address_of_data_opens_nothing(viewer):
    assert 403 == viewer.ask(f"/api/runs?token={viewer.token}", cookie=None).status


@pytest.mark.parametrize(("ending", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_browser_that_is_opened_is_given_no_address_that_others_can_read(
    recorded, tmp_path, make_viewer, ending, status
):
    """Every user can read the command lines of all processes."""
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\necho "$@" > "$0.partial" && mv "$0.partial" "$0.words"\n')
    browser.chmod(0o700)
    words = tmp_path / "browser.words"

    viewer = make_viewer(recorded, "--open", env={"BROWSER": f"{browser} %s", "TMPDIR": str(tmp_path)})

    limit = time.monotonic() + 20
    while not words.exists() and time.monotonic() < limit:
        time.sleep(0.02)
    said = words.read_text().strip()
    assert viewer.token not in said
    assert said.startswith(f"file://{tmp_path}/otel-perf-view-")
    file = Path(said.removeprefix("file://"))
    assert 0o600 == file.stat().st_mode & 0o777
    leads = f'<meta http-equiv="refresh" content="0; url=http://127.0.0.1:{viewer.port}/?token={viewer.token}">'
    assert leads in file.read_text()

    assert 303 == viewer.ask(f"/?token={viewer.token}", cookie=None).status
    viewer.process.send_signal(ending)
    _, errors = viewer.process.communicate(timeout=20)

    assert (status, "") == (viewer.process.returncode, errors)
    assert not file.exists()


# --- names of the server ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}", "127.0.0.1", "127.0.0.1:1",
        "127.0.0.1:{port}.evil.example", "0.0.0.0:{port}", "[::1]:{port}", "2130706433:{port}", "localhost.:{port}",
        "user@127.0.0.1:{port}", "127.0.0.1:{port},evil.example", "", " ",
    ],
)  # fmt: skip
def test_no_other_name_leads_here(viewer, host):
    """A site whose name comes to mean 127.0.0.1 would have the browser ask us in its name."""
    answer = viewer.ask("/api/runs", headers={"Host": host.format(port=viewer.port)})

    assert 403 == answer.status
    assert b"shop" not in answer.body
    assert_guarded(answer)


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LocalHost:{port}"])
def test_its_own_names_do(viewer, host):
    assert 200 == viewer.ask("/api/runs", headers={"Host": host.format(port=viewer.port)}).status


@pytest.mark.parametrize(
    ("version", "hosts"), [(1, b""), (0, b""), (1, b"Host: 127.0.0.1:%d\r\nHost: evil.example\r\n")]
)
def test_no_name_or_two_are_refused(viewer, version, hosts):
    hosts = hosts % viewer.port if b"%" in hosts else hosts
    cookie = b"Cookie: " + viewer.cookie.encode() + b"\r\n"

    said = viewer.raw(b"GET /api/runs HTTP/1.%d\r\n" % version + hosts + cookie + b"Connection: close\r\n\r\n")

    assert said.split(b" ", 2)[1] in (b"400", b"403")
    assert b"shop" not in said
    assert POLICY.encode() in said


def test_it_listens_to_this_machine_alone(viewer):
    listening = [
        one.laddr
        for one in psutil.Process(viewer.process.pid).net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    ]

    assert [("127.0.0.1", viewer.port)] == listening


# --- every response ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "GETX"]
)
@pytest.mark.parametrize("path", ["/", "/api/runs", "/nothing"])
def test_nothing_can_be_written(viewer, method, path):
    answer = viewer.ask(path, method)

    assert (405, "GET, HEAD") == (answer.status, answer.headers["allow"])
    assert_guarded(answer)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/runs", 200), ("/nothing", 404), ("/api/runs/newest/first", 200), ("/api/runs/newest/first/start", 200),
        ("/api/runs/newest/first/series?points=x", 400), ("/api/runs/newest/first/traces/x", 400),
        ("/api/runs/x/first", 404), ("/api/", 404), ("/favicon.ico", 404),
    ],
)  # fmt: skip
def test_every_answer_has_the_policy_and_is_json(viewer, path, status):
    answer = viewer.ask(path)

    assert (status, "application/json") == (answer.status, answer.headers["content-type"])
    assert_guarded(answer)


def test_page_itself_has_the_policy(viewer):
    for path, kind in (("/", "text/html"), ("/app.js", "text/javascript"), ("/app.css", "text/css")):
        answer = viewer.ask(path)

        assert (200, f"{kind}; charset=utf-8") == (answer.status, answer.headers["content-type"])
        assert_guarded(answer)


@pytest.mark.parametrize(
    "text", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"]
)
def test_what_is_no_http_is_answered_with_the_policy_too(viewer, text):
    said = viewer.raw(text)

    assert said.startswith(b"HTTP/1.1 400 ")
    assert POLICY.encode() in said


def test_run_that_cannot_be_read_is_an_error_in_words(recorded, tmp_path, make_viewer):
    shutil.copytree(recorded / ".otel-perf", tmp_path / ".otel-perf")
    (traces,) = tmp_path.glob(".otel-perf/*/*/traces.jsonl")
    viewer = make_viewer(tmp_path)
    traces.unlink()
    traces.mkdir()  # to the superuser, too, it is no file

    answer = viewer.ask("/api/runs/newest/first")

    assert 500 == answer.status
    assert answer.json["error"].startswith(f"cannot read {traces.relative_to(tmp_path)}: ")
    assert_guarded(answer)
    assert 200 == viewer.ask("/api/runs").status


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/api/runs/../first", "/api/runs/%2e%2e/first", "/api/runs/..%2f..%2fetc/first", "/api/runs/%2e%2e%2fouter/1",
        "/api/runs/newest/..", "/api/runs/newest/%2e%2e", "/api/runs/newest/..%2f..%2fouter%2f1",
        "/api/runs/{outer}/1", "/api/runs/%2Fetc/passwd", "/api/runs//etc/passwd", "/api/runs/newest/first/../../..",
        "/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/assets/../server.py", "/app.js/../../server.py", "/app.js%00",
        "/api/runs/outer/1", "/api/runs/inner/link",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_folder(escapes, path):
    viewer, outer = escapes

    answer = viewer.ask(path.format(outer=str(outer).replace("/", "%2F")))

    assert 404 == answer.status, answer.body
    assert b"secret" not in answer.body


def test_links_out_of_the_folder_are_not_listed_either(escapes):
    viewer, _ = escapes

    assert [("inner", ["1"])] == [
        (run["name"], [process["name"] for process in run["processes"]]) for run in viewer.get("")["runs"]
    ]
    assert "<b>shop</b>" == viewer.get("/newest/first")["report"]["service"]["name"]


@pytest.fixture
def escapes(recorded, tmp_path, make_viewer):
    """Return a viewer of a folder with one run and links to another one outside, and the path of that."""
    (process,) = recorded.glob(".otel-perf/*/*/traces.jsonl")
    outer, folder = tmp_path / "outer", tmp_path / "runs"
    shutil.copytree(process.parent, folder / "inner" / "1")
    shutil.copytree(process.parent, outer / "1")
    text = (outer / "1" / "traces.jsonl").read_text(encoding="utf-8")
    (outer / "1" / "traces.jsonl").write_text(text.replace("<b>shop</b>", "secret"), encoding="utf-8")
    (folder / "outer").symlink_to(outer)
    (folder / "inner" / "link").symlink_to(outer / "1")
    (folder / "inner" / "2").mkdir()
    (folder / "inner" / "2" / "traces.jsonl").symlink_to(outer / "1" / "traces.jsonl")
    os.utime(folder / "inner")
    return make_viewer(tmp_path, "--folder", folder), outer


# --- what is in the run -----------------------------------------------------------------------------------------------


def test_names_are_only_ever_values_of_json(viewer):
    answer = viewer.ask("/api/runs/newest/first/functions")

    assert "application/json" == answer.headers["content-type"]
    answer.body.decode("ascii")  # whatever reads it: no character of theirs ends or begins anything
    names = {row["name"] for row in answer.json["functions"]}
    assert {name.replace("\ud800", "?") for name in HOSTILE} == {name.replace("\ufffd", "?") for name in names}
    assert "<b>shop</b>" == json.loads(viewer.ask("/api/runs").body)["runs"][0]["service"]
