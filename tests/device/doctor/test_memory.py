"""Memory and its limits."""

from __future__ import annotations

from alula.device.doctor import Verdict
from alula.device.doctor.finding import UNKNOWN
from alula.device.doctor.memory import control_group, memory
from tests.device.doctor.conftest import Fake

MEMINFO = "MemTotal: 948304 kB\nMemFree: 100 kB\nMemAvailable: {} kB\nSwapTotal: 102396 kB\nCmaFree: 60000 kB"


def test_memory_is_shown_with_swap_and_judged_by_what_is_available(fake: Fake) -> None:
    fake.write("proc/meminfo", MEMINFO.format(600_000))
    finding = memory(fake.machine())
    assert (finding.verdict, finding.found) == (Verdict.OK, "971 MB, 614 MB available, swap 105 MB")
    assert finding.facts["cma_free_mb"] == 61
    fake.write("proc/meminfo", MEMINFO.format(50_000))
    assert memory(fake.machine()).verdict is Verdict.WARNING


def test_the_least_limit_of_the_groups_around_the_process_counts(fake: Fake) -> None:
    fake.write("proc/meminfo", MEMINFO.format(600_000))
    fake.write("proc/self/cgroup", "0::/system.slice/alula.service")
    fake.write("sys/fs/cgroup/system.slice/alula.service/memory.max", "max")
    fake.write("sys/fs/cgroup/system.slice/memory.max", 64_000_000)
    finding = memory(fake.machine())
    assert finding.verdict is Verdict.WARNING and finding.facts["memory_limit_mb"] == 64


def test_a_limit_above_all_memory_is_none(fake: Fake) -> None:
    fake.write("proc/meminfo", MEMINFO.format(600_000))
    fake.write("sys/fs/cgroup/memory/memory.limit_in_bytes", 9223372036854771712)
    assert memory(fake.machine()).facts["memory_limit_mb"] is None


def test_without_the_controller_limits_do_nothing_and_the_remedy_is_named(fake: Fake) -> None:
    fake.write("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids")
    finding = control_group(fake.machine())
    assert finding.verdict is Verdict.NOTE and "cgroup_enable=memory" in finding.fix
    fake.write("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids")
    assert control_group(fake.machine()).verdict is Verdict.OK


def test_files_that_are_not_there_or_damaged_are_not_known(fake: Fake) -> None:
    assert memory(fake.machine()).found == control_group(fake.machine()).found == UNKNOWN
    fake.write("proc/meminfo", "MemTotal: much\nMemAvailable:\n")
    assert memory(fake.machine()).found == UNKNOWN
