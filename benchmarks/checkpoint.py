"""What a checkpoint after every sweep adds to the time of a fit, on the medium synthetic set.

In one fit that writes after every other sweep, sweeps beside which a checkpoint is written take turns with sweeps that
have the machine to themselves: each of the former is compared with its two neighbours, so that a machine whose speed
drifts matters little. What the last checkpoint takes, which no sweep hides, comes on top. The cost is a share of a
fit's time from layout and compilation on; the larger share of its sweeps alone is printed beside it. `--whole N` also
times N pairs of whole fits, without checkpoints and with one after every sweep. A cost above `--most` ends with exit
code 1.

    python benchmarks/checkpoint.py --factors 64 --sweeps 15 --most 0.05
"""

import argparse
import itertools
import json
import pathlib
import statistics
import sys
import tempfile
import time

import jaxals
from jaxals._base.environment import environment

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--users", type=int, default=100_000)
parser.add_argument("--items", type=int, default=50_000)
parser.add_argument("--entries", type=int, default=4_800_000)
parser.add_argument("--factors", type=int, default=64)
parser.add_argument("--sweeps", type=int, default=15, help="of the fit whose time is shared out")
parser.add_argument("--solver", choices=["exact", "cg"], default="exact")
parser.add_argument("--turns", type=int, default=15, help="checkpoints to compare with their neighbours")
parser.add_argument("--whole", type=int, default=0, help="pairs of whole fits to time as well")
parser.add_argument(
    "--scratch", type=pathlib.Path, help="where checkpoints are written, by default the folder of temporary files"
)
parser.add_argument("--most", type=float, default=0.05, help="share of the time that checkpoints may add")
parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results")
arguments = parser.parse_args()

jaxals.use_all_cores()
data = jaxals.datasets.synthetic(
    n_users=arguments.users, n_items=arguments.items, n_interactions=arguments.entries, seed=0
)
solver = jaxals.Cholesky() if arguments.solver == "exact" else jaxals.ConjugateGradient()


def fit(sweeps: int, every: int) -> list[float]:
    """Return how long the layout with the first sweep took, each further sweep, and what came after the last one."""
    ends = [time.perf_counter()]
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        jaxals.fit(
            data,
            jaxals.Objective.hkv(),
            jaxals.ALS(factors=arguments.factors, sweeps=sweeps, solver=solver),
            progress=False,
            callbacks=[lambda _: ends.append(time.perf_counter())],
            checkpoint=jaxals.Checkpoint(folder, every=every) if every else None,
        )
        ends.append(time.perf_counter())
        size = sum(path.stat().st_size for path in pathlib.Path(folder).glob(f"step-{sweeps:010}/**/*"))
    seconds = [after - before for before, after in itertools.pairwise(ends)]
    print(f"{sweeps} sweeps, a checkpoint every {every or '-'}: {sum(seconds):.2f} s, {size / 1e6:.0f} MB", flush=True)
    return seconds


first, *sweeps, last = fit(2 * arguments.turns + 2, every=2)
# Sweeps 3, 5, ... run while the checkpoint of the sweep before them is written; sweep 2 is the first of the list.
added = [sweeps[at] - (sweeps[at - 1] + sweeps[at + 1]) / 2 for at in range(1, len(sweeps) - 1, 2)]
alone, each = statistics.median(sweeps[::2]), statistics.median(added)
in_all = (arguments.sweeps - 1) * each + last
cost, of_sweeps = in_all / (first + (arguments.sweeps - 1) * alone), in_all / (arguments.sweeps * alone)
print(f"a sweep alone: {alone:.3f} s; added by a checkpoint beside it, {len(added)} times: {each:+.3f} s")
print("single ones:", ", ".join(f"{one:+.3f}" for one in sorted(added)))
print(f"the last checkpoint: {last:.3f} s; layout, compilation and the first sweep: {first:.2f} s")
print(f"in all, of a fit of {arguments.sweeps} sweeps: {cost:+.1%}; of its sweeps alone: {of_sweeps:+.1%}")

pairs = []
for turn in range(arguments.whole):
    # Both orders, for whatever drifts.
    seconds = {every: sum(fit(arguments.sweeps, every)) for every in ((0, 1), (1, 0))[turn % 2]}
    pairs.append([seconds[0], seconds[1]])
if pairs:
    print("whole fits:", ", ".join(f"{after / before - 1:+.1%}" for before, after in pairs))
settings = {name: str(value) for name, value in vars(arguments).items() if name not in ("out", "scratch")}
seconds = {"first sweep": first, "sweeps": sweeps, "last checkpoint": last, "whole fits without and with": pairs}
costs = {"cost": cost, "cost of sweeps alone": of_sweeps}
document = {"settings": settings, **environment(), "seconds": seconds, **costs}
arguments.out.mkdir(parents=True, exist_ok=True)
name = f"checkpoint-f{arguments.factors}-{arguments.solver}.json"
(arguments.out / name).write_text(json.dumps(document, indent=1) + "\n")
sys.exit(0 if cost <= arguments.most else 1)
