"""A container's limits are those of its groups: the smallest on the way to the top, and none where nothing sane is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_perf.metrics import cgroup

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MIB = 2**20


def group(folder: Path, files: Mapping[str, object]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        data = content if isinstance(content, bytes) else f"{content}\n".encode()
        (folder / name).write_bytes(data)
    return str(folder)


def limits(*folders: str) -> tuple[float | None, int | None, int | None]:
    found = cgroup.limits(folders)
    return found.cpus, found.memory, found.memory_used


def test_version_2_gives_half_a_cpu_and_256_mib(tmp_path: Path) -> None:
    files = {"cpu.max": "50000 100000", "memory.max": 256 * MIB, "memory.current": 164_000_000}

    assert (0.5, 256 * MIB, 164_000_000) == limits(group(tmp_path, files))


def test_version_1_gives_half_a_cpu_and_256_mib(tmp_path: Path) -> None:
    files = {
        "cpu.cfs_quota_us": 50_000,
        "cpu.cfs_period_us": 100_000,
        "memory.limit_in_bytes": 256 * MIB,
        "memory.usage_in_bytes": 1_000_000,
    }

    assert (0.5, 256 * MIB, 1_000_000) == limits(group(tmp_path, files))


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"cpu.max": "max 100000", "memory.max": "max", "memory.current": 5},
        {"cpu.cfs_quota_us": -1, "cpu.cfs_period_us": 100_000, "memory.limit_in_bytes": 9223372036854771712},
    ],
    ids=["nothing", "version 2", "version 1"],
)
def test_no_limit_is_no_limit(tmp_path: Path, files: dict[str, object]) -> None:
    assert (None, None, None) == limits(group(tmp_path, files))


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"50000", b"x y", b"-5 100000", b"50000 0", b"0 100000", b"1e3 1e3", b"\xff\xfe 1", b"9" * 300]
)
def test_garbage_is_no_limit(tmp_path: Path, text: bytes) -> None:
    assert (None, None) == limits(group(tmp_path, {"cpu.max": text, "memory.max": b"-" + text}))[:2]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=40))
def test_whatever_stands_there_gives_a_positive_limit_or_none(tmp_path: Path, cpus: bytes, memory: bytes) -> None:
    found = cgroup.limits([group(tmp_path, {"cpu.max": cpus, "memory.max": memory, "memory.limit_in_bytes": memory})])

    assert found.cpus is None or found.cpus > 0
    assert found.memory is None or found.memory > 0


def test_of_nested_groups_the_smallest_limit_of_each_kind_holds(tmp_path: Path) -> None:
    outer = group(tmp_path / "a", {"cpu.max": "200000 100000", "memory.max": 100 * MIB, "memory.current": 7})
    middle = group(tmp_path / "a/b", {"cpu.max": "150000 100000", "memory.max": "max", "memory.current": 6})
    inner = group(tmp_path / "a/b/c", {"cpu.max": "max 100000", "memory.max": 200 * MIB, "memory.current": 5})

    assert (1.5, 100 * MIB, 7) == limits(inner, middle, outer)


# --- where the groups are ---------------------------------------------------------------------------------------------


def groups(folder: Path, cgroup_file: str, *mounts: str) -> list[str]:
    (folder / "cgroup").write_text(cgroup_file)
    (folder / "mountinfo").write_text("".join(f"31 23 0:28 {mount}\n" for mount in mounts))
    return cgroup.groups(str(folder))


def test_groups_of_version_2_reach_from_the_process_to_the_mount(tmp_path: Path) -> None:
    found = groups(tmp_path, "0::/user.slice/app.scope\n", "/ /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw")

    assert [
        "/sys/fs/cgroup/user.slice/app.scope",
        "/sys/fs/cgroup/user.slice",
        "/sys/fs/cgroup",
    ] == found


def test_a_container_with_a_namespace_of_its_own_sees_its_group_at_the_mount(tmp_path: Path) -> None:
    assert ["/sys/fs/cgroup"] == groups(tmp_path, "0::/\n", "/ /sys/fs/cgroup ro - cgroup2 cgroup rw")


def test_a_container_of_version_1_sees_the_part_that_is_mounted(tmp_path: Path) -> None:
    lines = "5:memory:/docker/7f\n4:cpu,cpuacct:/docker/7f/job\n3:name=systemd:/docker/7f\n"
    found = groups(
        tmp_path,
        lines,
        "/docker/7f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory",
        "/docker/7f /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct",
        "/docker/7f /sys/fs/cgroup/systemd ro - cgroup cgroup rw,name=systemd",
    )

    assert ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu/job", "/sys/fs/cgroup/cpu"] == found


def test_a_group_outside_of_what_is_mounted_means_the_mount(tmp_path: Path) -> None:
    assert ["/sys/fs/cgroup"] == groups(tmp_path, "0::/../../other\n", "/ /sys/fs/cgroup ro - cgroup2 cgroup rw")
    assert ["/sys/fs/cgroup"] == groups(tmp_path, "0::/here\n", "/there /sys/fs/cgroup ro - cgroup2 cgroup rw")


def test_a_mount_with_a_space_in_its_name_is_found(tmp_path: Path) -> None:
    assert ["/my groups/a", "/my groups"] == groups(tmp_path, "0::/a\n", "/ /my\\040groups rw - cgroup2 x rw")


def test_torn_lines_are_left_out(tmp_path: Path) -> None:
    assert [] == groups(tmp_path, "nonsense\n0:\n", "short - cgroup2", "/ /sys/fs/cgroup rw cgroup2 no dash")
    assert [] == cgroup.groups(str(tmp_path / "nothing"))


# --- CPUs -------------------------------------------------------------------------------------------------------------


def test_usable_cpus_are_those_of_the_affinity_or_the_smaller_quota() -> None:
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

    assert here == cgroup.usable_cpus(cgroup.Limits())
    assert 0.25 == cgroup.usable_cpus(cgroup.Limits(cpus=0.25))
    assert here == cgroup.usable_cpus(cgroup.Limits(cpus=10_000.0))
