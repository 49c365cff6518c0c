"""Try an installed wheel, alone in its environment: run by `make wheel`, outside the checkout."""

import importlib.metadata
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import jax
import numpy as np

import jaxals

SCRIPT = Path(sysconfig.get_path("scripts")) / "jaxals"


def check_files() -> None:
    """Check that it is the wheel that was imported, and that it holds the package and nothing else."""
    assert Path(jaxals.__file__).is_relative_to(sysconfig.get_path("purelib")), jaxals.__file__
    files = [str(file) for file in importlib.metadata.files("jaxals") or []]
    assert "jaxals/py.typed" in files
    top = {file.split("/")[0] for file in files if not file.startswith("..")}  # "..": the command
    assert top == {"jaxals", f"jaxals-{jaxals.__version__}.dist-info"}, top


def check_library(folder: Path) -> None:
    """Train, recommend, save and load."""
    data = jaxals.datasets.synthetic(n_users=200, n_items=100, n_interactions=4_000, seed=0)
    trainer = jaxals.ALS(factors=8, sweeps=5)
    run = jaxals.fit(data, jaxals.Objective.log(alpha=2.0, regularization=1.0), trainer, seed=0, progress=False)
    losses = run.history["loss"].to_numpy()
    assert np.all(np.isfinite(losses)), losses
    assert losses[-1] < losses[0], losses
    recommender = jaxals.Recommender(run.factors, data, run.objective).settled()
    recommender.save(folder / "model")
    answer = recommender.recommend(7, n=5)
    assert len(answer) == 5
    assert answer.equals(jaxals.Recommender.load(folder / "model").recommend(7, n=5))


def check_command(folder: Path) -> None:
    """Run the command: its version, an answer, mistakes."""
    assert run_command("--version") == (0, f"jaxals {jaxals.__version__}\n", "")
    code, answer, _ = run_command("recommend", str(folder / "model"), "7", "--n", "5")
    assert (code, len(answer.split("\n\n")[0].splitlines())) == (0, 7), answer  # a title, a header, five items
    for mistake in (["fit", "missing.tsv", "--output", str(folder / "new")], ["ft"], ["--factors"], ["demo", "--n"]):
        code, _, complaint = run_command(*mistake)
        assert (code, complaint.count("\n")) == (2, 1), complaint
        assert complaint.startswith("jaxals: "), complaint


def run_command(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def main() -> None:
    check_files()
    with tempfile.TemporaryDirectory() as folder:
        check_library(Path(folder))
        check_command(Path(folder))
    jaxals.show_versions()
    print(f"jaxals {jaxals.__version__} works on Python {sys.version.split()[0]}, JAX {jax.__version__}")


if __name__ == "__main__":
    main()
