import json
import subprocess
import sys

import pytest

from jaxals.errors import CheckpointError
from jaxals.hyper.trials import TrialLog, locked

SEARCH = {"seed": 0, "metric": "ndcg@10", "ranges": {"alpha": "LogUniform(low=1, high=10)"}}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "new folder" / "trials.jsonl"
    log = TrialLog(path, SEARCH)
    for number in range(3):
        log.append({"trial": number, "score": 0.1 * number})
    return path


def test_trials_come_back_to_the_same_search(path):
    before = path.read_bytes()
    log = TrialLog(path, SEARCH)
    assert log.trials == [{"trial": number, "score": 0.1 * number} for number in range(3)]
    assert path.read_bytes() == before
    log.append({"trial": 3, "score": None})
    assert path.read_bytes().startswith(before)
    assert TrialLog(path, SEARCH).trials[3] == {"trial": 3, "score": None}


def test_without_a_path_trials_stay_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = TrialLog(None, SEARCH)
    log.append({"trial": 0})
    assert log.trials == [{"trial": 0}]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lost", range(1, 25))
def test_a_half_written_last_line_is_dropped(path, lost):
    path.write_bytes(path.read_bytes()[:-lost])
    log = TrialLog(path, SEARCH)
    assert [trial["trial"] for trial in log.trials] == [0, 1]
    log.append({"trial": 2})
    assert [json.loads(line).get("trial") for line in path.read_text().splitlines()] == [None, 0, 1, 2]


def test_a_half_written_first_line_is_no_obstacle(path):
    path.write_bytes(path.read_bytes()[:40])
    TrialLog(path, SEARCH).append({"trial": 0})
    assert len(TrialLog(path, SEARCH).trials) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "another search: `seed` is 0 there and 1 here"),
        ({"metric": "auc"}, "`metric` is ndcg@10 there and auc here"),
        ({"splits": 2}, "`splits` is None there and 2 here"),
    ],
)
def test_another_search_is_told_what_differs(path, change, message):
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=message):
        TrialLog(path, SEARCH | change)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["user\titem\na\tb", "[1, 2]\n", '{"users": 3}\n', "\x00"])
def test_other_files_are_left_alone(tmp_path, content):
    path = tmp_path / "other"
    path.write_text(content)
    with pytest.raises(CheckpointError, match="something other than the trials of a search"):
        TrialLog(path, SEARCH)
    assert path.read_text() == content


def test_a_damaged_line_is_named(path):
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], "{", *lines[3:], ""]))
    with pytest.raises(CheckpointError, match=r"Line 3 of .* is damaged"):
        TrialLog(path, SEARCH)


def test_a_path_that_cannot_be_written_is_refused(path, tmp_path):
    with pytest.raises(CheckpointError, match="cannot be written or read"):
        TrialLog(path / "below a file", SEARCH)
    with pytest.raises(CheckpointError, match="Is a directory"):
        TrialLog(tmp_path, SEARCH)


def test_one_search_at_a_time_writes_to_a_file(path):
    before = path.read_bytes()
    with (
        locked(path),
        pytest.raises(CheckpointError, match=r"^Another search writes to .*; wait for it, or name another file\.$"),
        locked(path),
    ):
        pass
    with locked(path), locked(path.with_name("another")), locked(None):
        pass
    assert path.read_bytes() == before


def test_a_killed_search_holds_no_lock(path):
    program = f"""
import sys
from jaxals.hyper.trials import locked
with locked({str(path)!r}):
    print("locked", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(CheckpointError, match="Another search writes"), locked(path):
            pass
        process.kill()
        process.wait()
        with locked(path):
            pass


def test_a_path_that_cannot_be_locked_is_refused(path, tmp_path):
    for wrong in (path / "below a file", tmp_path):
        with pytest.raises(CheckpointError, match="cannot be written or read"), locked(wrong):
            pass


def test_trials_that_are_there_twice_are_refused(path):
    header, *lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([header, *(2 * line for line in lines)]))
    with pytest.raises(CheckpointError, match=r"Line 3 of .* is not trial 1, as where two searches wrote to it"):
        TrialLog(path, SEARCH)
    path.write_text("".join([header, header, *lines]))
    with pytest.raises(CheckpointError, match=r"Line 2 of .* is not trial 0"):
        TrialLog(path, SEARCH)


def test_trials_of_another_python_go_on_with_a_word(path):
    code = {"code": "cpython-311", "code.build": "1"}
    path = path.with_name("others.jsonl")
    TrialLog(path, {**SEARCH, **code})
    with pytest.warns(UserWarning, match=r"`build` .* cannot be told: it was compiled by cpython-311, and is by"):
        TrialLog(path, {**SEARCH, **code, "code": "cpython-399", "code.build": "2"})
