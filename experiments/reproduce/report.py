"""Tables of ours beside what was published: printed, written as JSON and Markdown, and shown in the README."""

import argparse
import dataclasses
import datetime
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from jaxals._base.environment import environment
from jaxals.datasets.published import find_published
from jaxals.errors import DataError

ROOT = Path(__file__).parents[2]
BEGIN, END = "<!-- results: written by experiments/reproduce -->", "<!-- end of results -->"


@dataclasses.dataclass
class Row:
    """One model of a table.

    Attributes:
        model: What it is, and its settings.
        values: For each metric, one number for each seed; one alone where there is no chance in it.
        published: Numbers by metric that others published, or measured with other programs.
        source: Whose they are.
        in_readme: Whether the README shows this row.
    """

    model: str
    values: dict[str, list[float]]
    published: dict[str, float] = dataclasses.field(default_factory=dict)
    source: str = ""
    in_readme: bool = True


def parser(description: str | None, seeds: int) -> argparse.ArgumentParser:
    """Return the options that all tables share."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=seeds, help="how many seeds, from 0 on")
    options.add_argument("--out", type=Path, default=ROOT / "experiments" / "results")
    return options


def file_or_skip(file: str) -> Path:
    """Find a file under `JAXALS_DATA`; end the script where it is not there, as large files often are not."""
    try:
        return find_published(file)
    except DataError as error:
        print(f"Skipped: {error}")
        sys.exit(0)


def columns(evaluations: Sequence) -> dict[str, list[float]]:
    """Gather the means of evaluations, one for each seed, by metric."""
    return {name: [evaluation[name] for evaluation in evaluations] for name in evaluations[0].names}


def write(
    name: str,
    title: str,
    protocol: str,
    rows: Sequence[Row],
    out: Path,
    shown: Sequence[str] | None = None,
    tests: pd.DataFrame | None = None,
) -> None:
    """Print a table, write `reproduce_<name>.json` and `.md`, and write the README's results anew.

    Args:
        name: Of the script.
        title: The data and what is measured, short: the README's first column.
        protocol: How it was measured, in a sentence or two.
        rows: The models.
        out: Folder of results; the README two folders above it is written, where there is one.
        shown: Metrics that the README shows; by default all.
        tests: Of pairs of models, as `paper_table` makes them.
    """
    table = {
        "title": title,
        "protocol": protocol,
        "command": f"python experiments/reproduce/{name}.py",
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
        **environment(),
        "shown": None if shown is None else list(shown),
        "rows": [dataclasses.asdict(row) for row in rows],
        "tests": [] if tests is None else tests.to_dict("records"),
    }
    text = _markdown(table)
    print(f"\n{text}")
    out.mkdir(parents=True, exist_ok=True)
    (out / f"reproduce_{name}.json").write_text(json.dumps(table, indent=1) + "\n")
    (out / f"reproduce_{name}.md").write_text(text)
    if (readme := out.absolute().parents[1] / "README.md").exists():
        _write_readme(readme, [json.loads(path.read_text()) for path in sorted(out.glob("reproduce_*.json"))])


def _markdown(table: dict) -> str:
    metrics = list(dict.fromkeys(metric for row in table["rows"] for metric in row["values"]))
    lines = [f"# {table['title']}", "", table["protocol"], "", _line(["model", *metrics, "seeds", "published", "by"])]
    lines.append("|---" * (len(metrics) + 4) + "|")
    for row in table["rows"]:
        cells = [_number(row["values"].get(metric)) for metric in metrics]
        published = ", ".join(f"{metric} {_short(value)}" for metric, value in row["published"].items())
        n_seeds = max(len(values) for values in row["values"].values())
        lines.append(_line([row["model"], *cells, str(n_seeds), published, row["source"]]))
    if table["tests"]:
        lines += ["", _line(["first - second", "metric", "difference", "95 %", "p, after Holm"]), "|---" * 5 + "|"]
        lines += [_line(_tested(one)) for one in table["tests"]]
    machine, versions = table["machine"], table["versions"]
    computer = f"{machine['processor']}, {machine['cores']} cores, Python {versions['python']}, JAX {versions['jax']}"
    where = f"{table['date']}, commit {table['commit']}, {computer}"
    lines += ["", f"Mean ± standard deviation over the seeds. Written by `{table['command']}` ({where}).", ""]
    return "\n".join(lines)


def _write_readme(readme: Path, tables: list[dict]) -> None:
    lines = [_line(["data and metrics", "model", "ours", "published"]), "|---|---|---|---|"]
    for table in tables:
        for row in table["rows"]:
            if row["in_readme"]:
                ours = " / ".join(_number(row["values"][metric]) for metric in table.get("shown") or row["values"])
                theirs = " / ".join(_short(value) for value in row["published"].values())
                by = f" ({row['source']})" if row["source"] else ""
                lines.append(_line([table["title"], row["model"], ours, theirs + by]))
    text = readme.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    readme.write_text("\n".join([before + BEGIN, *lines, END]) + after)


def _tested(test: dict) -> list[str]:
    pair = f"{test['first']} - {test['second']}"
    numbers = f"{test['difference']:+.4f}", f"{test['low']:+.4f} to {test['high']:+.4f}", f"{test['corrected']:.2g}"
    return [pair, test["metric"], *numbers]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(values: list[float] | None) -> str:
    if not values:
        return ""
    spread = f" ± {_short(statistics.stdev(values))}" if len(values) > 1 else ""
    return _short(statistics.fmean(values)) + spread


def _short(value: float) -> str:
    return f"{value:.4f}".removeprefix("0") if abs(value) < 1 else f"{value:.4g}"


def _commit() -> str:
    # Not the project's own folder where it was installed without its history.
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"
