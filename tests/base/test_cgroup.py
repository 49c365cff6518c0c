import pytest

from jaxals._base.cgroup import cpu_quota, memory_left


@pytest.fixture
def machine(tmp_path):
    """Writes what a machine says of its control groups."""

    def write(groups: str, **files: str):
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(groups)
        for name, content in files.items():
            path = tmp_path / "sys/fs/cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": ""}, None),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3.0),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
        ("0::/../..\n", {"cpu.max": "200000 100000"}, 2.0),
        (
            "4:cpu,cpuacct:/\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "250000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            2.5,
        ),
        ("4:cpuacct,cpu:/docker/x\n", {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2.0),
        ("4:cpu:/x\n0::/\n", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, None),
        ("4:cpuset:/\n", {"cpu.max": "200000 100000"}, None),
        ("4:cpu:/\n0::/\n", {"unified/cpu.max": "200000 100000"}, 2.0),
    ],
)
def test_the_time_of_processors_is_that_of_the_narrowest_group(groups, files, quota, machine):
    assert cpu_quota(machine(groups, **files)) == quota


@pytest.mark.parametrize(
    ("groups", "files", "left"),
    [
        ("0::/a\n", {"a/memory.max": "1000", "a/memory.current": "400", "a/memory.stat": "inactive_file 100\n"}, 700),
        ("0::/a\n", {"memory.max": "500", "memory.current": "400", "a/memory.max": "max"}, 100),
        (
            "5:memory:/x\n",
            {
                "memory/x/memory.limit_in_bytes": "1000",
                "memory/x/memory.usage_in_bytes": "400",
                "memory/x/memory.stat": "inactive_file 1\ntotal_inactive_file 50\n",
            },
            650,
        ),
        ("0::/\n", {}, None),
        ("no group\n0::/a\n", {"a/memory.max": "1000", "a/memory.current": "400"}, 600),
    ],
)
def test_so_is_memory(groups, files, left, machine):
    assert memory_left(machine(groups, **files)) == left


def test_another_system_limits_nothing(tmp_path):
    assert cpu_quota(tmp_path) is memory_left(tmp_path) is None
