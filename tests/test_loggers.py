"""The page on trackers, run against the real libraries, offline, where they are installed."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "follow-a-run.md"
# What is asked of each library in the end: that all six steps, and the metrics with their names, are there.
ASKED = {
    "tensorboardX": """
import pathlib, tensorboardX
from tensorboardX.proto.event_pb2 import Event
import struct
(file,) = pathlib.Path("runs/log-alpha-2").glob("events*")
content, tags = file.read_bytes(), []
while content:
    size = struct.unpack("<Q", content[:8])[0]
    event = Event.FromString(content[12 : 12 + size])
    tags += [(value.tag, event.step) for value in event.summary.value]
    content = content[16 + size :]
names = ("loss", "ndcg_at_10", "recall_at_10")
assert sorted(tags) == sorted((name, step) for name in names for step in range(1, 7)), tags
""",
    "wandb": """
import pathlib
(file,) = pathlib.Path("wandb").glob("offline-run-*/*.wandb")
content = file.read_bytes()
assert content.count(b"ndcg@10") >= 6 and content.count(b"recall@10") >= 6, content.count(b"ndcg@10")
assert b"Objective(confidence=LogConfidence" in content
""",
    "mlflow": """
client = mlflow.MlflowClient()
(run,) = client.search_runs(["0"])
assert [one.step for one in client.get_metric_history(run.info.run_id, "ndcg_at_10")] == [1, 2, 3, 4, 5, 6]
assert run.data.params["seed"] == "0" and run.data.params["trainer"].startswith("ALS(factors=8")
""",
}


def blocks() -> dict[str, str]:
    """Return the code under each heading of the page; that before the first has the name ""."""
    found, name = {"": ""}, ""
    for part in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE):
        code = "\n".join(re.findall(r"```python\n(.*?)```", part, re.DOTALL))
        found[name if not found[""] else part.splitlines()[0]] = code
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "heading"), [("tensorboardX", "TensorBoard"), ("wandb", "Weights & Biases"), ("mlflow", "MLflow")]
)
def test_the_page_logs_each_step_to_the_real_library(library, heading, tmp_path):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    program = blocks()[""] + blocks()[heading] + ASKED[library]
    offline = {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
    }
    environment = {**os.environ, **offline, "PYTHONPATH": os.pathsep.join([str(PAGE.parents[2]), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-5_000:]
