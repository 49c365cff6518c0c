import ast
import re
from pathlib import Path

import jaxals

PACKAGE = Path(jaxals.__file__).parent
TABLE = re.findall(r"^\| (`.*?) \|", (PACKAGE.parent / "CONTRIBUTING.md").read_text(), re.MULTILINE)
LAYERS = re.findall(r"`(\w+)/?`", "\n".join(TABLE))


def imported(file: Path) -> set[str]:
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    whole = {alias.name for node in nodes if node.module == "jaxals" for alias in node.names}
    return whole | {node.module.split(".")[1] for node in nodes if node.module and node.module.startswith("jaxals.")}


def test_every_module_is_in_the_table():
    present = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert sorted(LAYERS) == sorted(present - {"__init__", "__main__"})


def test_modules_import_only_from_those_before_them():
    for place, name in enumerate(LAYERS):
        folder = PACKAGE / name
        for file in folder.glob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]:
            assert imported(file) & set(LAYERS) <= set(LAYERS[: place + folder.is_dir()]), file
