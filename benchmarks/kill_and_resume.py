"""Kill `jaxals fit` at random moments, resume it, and compare with a run that nobody killed, bit by bit.

Each kill is a process of its own on lastfm-2k, which gets SIGKILL at a moment drawn from the seed: from when it locks
its folder of checkpoints to a little after when it would have written the last one. Writing takes most of that time, so
most kills hit a checkpoint that is half written. The progress bar, read through a pseudo-terminal, tells how many
sweeps had been finished.

    JAXALS_DATA=... python benchmarks/kill_and_resume.py --kills 50 --seed 0
"""

import argparse
import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time

import numpy as np

from jaxals._base.environment import environment

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--kills", type=int, default=50)
parser.add_argument("--first", type=int, default=0, help="number of the first kill, to go on from an earlier call")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--sweeps", type=int, default=40)
parser.add_argument("--every", type=int, default=2)
parser.add_argument("--solver", default="conjugate-gradient")
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
arguments = parser.parse_args()


class Process:
    """`jaxals fit`, with a terminal for its progress bar."""

    def __init__(self, folder: pathlib.Path, cache: pathlib.Path):
        fit = (
            f"fit lastfm-2k --objective log --factors 8 --sweeps {arguments.sweeps} --solver {arguments.solver} --json"
        )
        to = ["--output", str(folder / "model"), "--checkpoint", str(folder / "checkpoints"), "--resume"]
        compiled = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        often = {"TQDM_MININTERVAL": "0", "TQDM_MINITERS": "1"}
        self.seen, (self._master, slave) = b"", pty.openpty()
        termios.tcsetwinsize(slave, (24, 120))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jaxals", *fit.split(), *to, "--every", str(arguments.every)],
            env={**os.environ, **compiled, **often},
            stdout=subprocess.PIPE,
            stderr=slave,
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while part := os.read(self._master, 2**16):
                self.seen += part
        except OSError:  # the other end is closed
            pass

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)

    def is_running(self) -> bool:
        return self._process.poll() is None

    def finish(self) -> str:
        output, _ = self._process.communicate(timeout=300)
        self._reader.join()
        os.close(self._master)
        return output.decode()

    @property
    def sweeps(self) -> int:
        """How many the progress bar has told of."""
        return max(map(int, re.findall(rb"(\d+)/%d \[" % arguments.sweeps, self.seen)), default=0)


def outcome(folder: pathlib.Path, output: str) -> tuple:
    """Return all that must be the same: the bytes of the model's arrays, and the history without its times."""
    history = [
        {k: v for k, v in row.items() if k not in ("seconds", "compile_seconds")}
        for row in json.loads(output)["history"]
    ]
    arrays = (folder / "model" / "arrays").glob("*/0*")
    return json.dumps(history), sorted((path.parent.name, path.read_bytes()) for path in arrays)


def wait_for(process: Process, folder: pathlib.Path, name: str) -> float:
    """Wait until there is a file among the checkpoints, and return when that was."""
    while process.is_running() and not (folder / "checkpoints" / name).exists():
        time.sleep(0.001)
    return time.perf_counter()


def main() -> int:
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        for name in ("warm", "whole"):  # the first one compiles
            process = Process(root / name, root / "cache")
            start = wait_for(process, root / name, "lock")
            duration = 1.1 * (wait_for(process, root / name, f"step-{arguments.sweeps:010}") - start)
            output = process.finish()
        expected = outcome(root / "whole", output)
        print(f"uninterrupted: {arguments.sweeps} sweeps, {duration:.2f} s from which moments are drawn", flush=True)
        for number in range(arguments.first, arguments.first + arguments.kills):
            folder = root / f"kill-{number}"
            moment = float(np.random.default_rng((arguments.seed, number)).uniform(0, duration))
            process = Process(folder, root / "cache")
            time.sleep(max(0, wait_for(process, folder, "lock") + moment - time.perf_counter()))
            was_running = process.is_running()
            process.kill()
            process.finish()
            saved = [int(path.name[5:]) for path in (folder / "checkpoints").glob("step-*")]
            was_writing = any((folder / "checkpoints").glob(".jaxals-*"))
            resumed = Process(folder, root / "cache")
            row = {
                "kill": number,
                "after seconds": round(moment, 3),
                "was running": was_running,
                "was writing": was_writing,
                "finished sweeps": process.sweeps,
                "saved sweeps": max(saved, default=0),
                "is identical": outcome(folder, resumed.finish()) == expected,
            }
            rows.append(row | {"lost sweeps": row["finished sweeps"] - row["saved sweeps"]})
            print(rows[-1], flush=True)
    identical = sum(row["is identical"] for row in rows)
    most = max(row["lost sweeps"] for row in rows)
    print(f"{identical} of {len(rows)} end bit-identical to the uninterrupted run")
    running, writing = (sum(row[f"was {what}"] for row in rows) for what in ("running", "writing"))
    print(f"{running} were running, {writing} of them writing a checkpoint")
    print(f"most sweeps lost: {most}, of {arguments.every} from one checkpoint to the next")
    settings = {k: str(v) for k, v in vars(arguments).items() if k != "out"}
    document = {"settings": settings, **environment(), "kills": rows}
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = f"kill_and_resume-{arguments.solver}-seed{arguments.seed}-from{arguments.first}.json"
    (arguments.out / name).write_text(json.dumps(document, indent=1) + "\n")
    return 0 if identical == len(rows) and most <= arguments.every else 1


if __name__ == "__main__":
    sys.exit(main())
