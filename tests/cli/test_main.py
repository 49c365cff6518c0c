import json
import os
import shlex
import subprocess
import sys

import pytest

import jaxals
from jaxals import cli
from jaxals.cli import commands


def test_interrupt_elsewhere_is_one_line(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "_load", interrupt)
    assert cli.main(["similar", "model", "3"]) == 130
    assert capsys.readouterr().err == "jaxals: interrupted\n"


def test_an_interrupted_process_ends_without_taking_jax_down():
    # It crashed where devices still computed: whatever runs at exit would show that the interpreter was taken down.
    script = """
import atexit, sys
from jaxals import cli
from jaxals.cli import commands
atexit.register(print, "taken down")
def interrupt(*_):
    print("begun")
    raise KeyboardInterrupt
commands._load = interrupt
sys.argv = ["jaxals", "similar", "model", "3"]
sys.exit(cli.main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "begun\n", "jaxals: interrupted\n")


def test_processes_end_with_the_code_and_no_traceback(tmp_path):
    run = lambda *arguments: subprocess.run(
        [sys.executable, "-m", "jaxals", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    done = run("datasets", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["datasets"]) == len(jaxals.datasets.names())
    failed = run("recommend", tmp_path / "nowhere", 3)
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (2, "", 1)


@pytest.mark.slow
def test_output_that_nobody_reads_ends_quietly(folder):
    reader, writer = os.pipe()
    os.close(reader)
    for arguments in (["datasets", "--json"], ["recommend", str(folder / "model"), "3"]):
        command = [sys.executable, "-m", "jaxals", *arguments]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (1, "")
    os.close(writer)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_or_closed_stdout_is_no_traceback():
    command = [sys.executable, "-m", "jaxals", "datasets", "--json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (2, "jaxals: No space left on device.\n")
    closed = subprocess.run(["sh", "-c", f"{shlex.join(command)} >&-"], stderr=subprocess.PIPE, text=True, timeout=120)
    assert (closed.returncode, closed.stderr) == (0, "")


def test_a_shell_without_utf_8_is_understood(tmp_path):
    table = tmp_path / "\u0436.csv"
    table.write_text("wh\u00f6,what\na,x\n", encoding="utf-8")
    shell = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "jaxals", "evaluate", str(table), "--user", "wh\u00f6", "--item", "\u0436"]
    done = subprocess.run(command, env=os.environ | shell, capture_output=True, text=True, timeout=120)
    # What there is of the file's name in ASCII; the names of columns as they are in the file.
    said = rf"jaxals: {tmp_path}/\udcd0\udcb6.csv has no column '\u0436'; its columns are ['wh\xf6', 'what']; "
    assert (done.returncode, done.stderr) == (2, f"{said}name the column by `--item`.\n")
