"""Runs the blocks of one page, one after another, in this process: a namespace and a folder of their own. No Sphinx.

Reads {"blocks": [{"language", "code"}], "figures": folder} as JSON from stdin and writes one result a block to the file
that its argument names: {"output": text, "figures": [paths], "error": text or None}. Stops at the first error.
"""

import ast
import contextlib
import io
import json
import subprocess
import sys
import traceback
from pathlib import Path


def run_python(code: str, namespace: dict, label: str) -> tuple[str, object]:
    """Execute a block; a last line that is an expression is its value, as in a notebook."""
    tree = ast.parse(code, label)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    value = None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, label, "exec"), namespace)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), label, "eval"), namespace)
    return printed.getvalue(), value


def run_console(code: str) -> str:
    """Run the commands behind `$ `; what they print is shown where the page does not show it already."""
    lines = code.splitlines()
    commands = [line[2:] if line.startswith("$ ") else line for line in lines if line.startswith(("$ ", "> "))]
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", "\n".join(commands)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout if len(commands) == len(lines) else ""


def describe_error(error: BaseException) -> str:
    """Format an error from the block on, without what ran the block."""
    trace = error.__traceback__
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith("<block"):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace or error.__traceback__))


def save_figures(folder: Path, number: int, value: object) -> list[str]:
    """Save the pictures that a block has drawn: those of pyplot, and one that is, or belongs to, its value."""
    figures = []
    if "matplotlib.pyplot" in sys.modules:
        from matplotlib import pyplot

        figures = [pyplot.figure(n) for n in pyplot.get_fignums()]
        pyplot.close("all")
    own = value if hasattr(value, "savefig") else getattr(value, "figure", None)
    if hasattr(own, "savefig") and own not in figures:
        figures.append(own)
    paths = [folder / f"{number}-{n}.png" for n in range(len(figures))]
    for figure, path in zip(figures, paths, strict=True):
        figure.savefig(path, dpi=160, bbox_inches="tight")
    return [str(path) for path in paths]


def main() -> None:
    """Run all blocks and write down what came of them."""
    page = json.load(sys.stdin)
    namespace: dict = {"__name__": "__main__"}
    results: list[dict] = []
    for number, block in enumerate(page["blocks"], 1):
        result: dict = {"output": "", "figures": [], "error": None}
        results.append(result)
        try:
            if block["language"] == "console":
                result["output"] = run_console(block["code"])
                continue
            printed, value = run_python(block["code"], namespace, f"<block {number}>")
            result["figures"] = save_figures(Path(page["figures"]), number, value)
            shown = "" if value is None or result["figures"] else f"{value!r}"
            result["output"] = printed + shown
        except BaseException as error:
            result["error"] = describe_error(error)
            break
        finally:
            Path(sys.argv[1]).write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
