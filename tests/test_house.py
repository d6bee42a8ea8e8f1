"""The rules of the house: names of modules, docstrings, lengths, and which modules stay free of torch and Dask."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from agg_pipeline.database.contents import DATABASE_LAYOUT
from agg_pipeline.database.manifest import finish
from agg_pipeline.execution.shard_files import sidecars

ROOT = Path(__file__).parents[1]
PACKAGES = ("agg_pipeline", "stages", "schemas")
MODULES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MAX_LINES = 350
READERS = (
    "agg_pipeline",
    "agg_pipeline.database.reader",
    "agg_pipeline.database.status",
    "agg_pipeline.database.validation",
    "agg_pipeline.evaluation.compare",
    "agg_pipeline.evaluation.evaluation_page",
    "agg_pipeline.evaluation.terminal_summary",
    "agg_pipeline.evaluation.timings",
    "agg_pipeline.proposals.statistics_page",
    "agg_pipeline.proposals.summary_tables",
    "agg_pipeline.report.text_table",
    "agg_pipeline.study.study_report",
    "agg_pipeline.training.training_page",
)
"""Modules that only read results."""


def definitions(module):
    """Public functions and classes of a module, as (name, node)."""
    for node in ast.parse((ROOT / module).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node


def test_modules_are_found():
    assert len(MODULES) > 100
    assert Path("agg_pipeline/evaluation/summary.py") in MODULES


def test_no_two_modules_share_a_name():
    places = defaultdict(list)
    for module in MODULES:
        if module.parts[:2] != ("agg_pipeline", "cli") and module.parts[0] == "agg_pipeline":
            places[module.name].append(module)
    shared = {name: found for name, found in places.items() if len(found) > 1}
    assert set(shared) <= {"__init__.py", "run.py"}
    packages = [module.parts[1] for module in places["run.py"]]
    assert len(packages) == len(set(packages)), "a package has one entry point"


def test_docstrings_of_what_is_public_begin_with_one_sentence():
    found = {
        f"{module}: {name}"
        for module in MODULES
        for name, node in definitions(module)
        if not (ast.get_docstring(node) or "").partition("\n")[0].endswith(".")
    }
    assert found == set()


def documented(node):
    """Names that the docstring of a function or class lists under Args and Attributes."""
    names, section = [], ""
    for line in (ast.get_docstring(node) or "").splitlines():
        if re.fullmatch(r"\w+:", line):
            section = line
        elif section in ("Args:", "Attributes:") and (found := re.match(r" {4}((?:\*{0,2}\w+(?:, )?)+):", line)):
            names += [name.lstrip("*") for name in found[1].split(", ")]
    return names


def parameters(node):
    """Parameters of a function; of a class, its fields and the parameters and attributes of its constructor."""
    if isinstance(node, ast.FunctionDef):
        return {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
    names = {each.target.id for each in node.body if isinstance(each, ast.AnnAssign)}
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            names |= parameters(method)
            names |= {each.attr for each in ast.walk(method) if isinstance(each, ast.Attribute)}
        elif isinstance(method, ast.FunctionDef) and method.decorator_list:
            names.add(method.name)
    return names


def documented_but_missing(node):
    """Names in the docstrings of a function, or of a class and its methods, that do not exist."""
    nodes = [node, *(each for each in getattr(node, "body", ()) if isinstance(each, ast.FunctionDef))]
    bases = isinstance(node, ast.ClassDef) and node.bases  # may bring fields of their own
    return [name for each in nodes if not (each is node and bases) for name in set(documented(each)) - parameters(each)]


def test_a_name_that_only_the_docstring_has_is_found():
    text = 'def f(a, *rest):\n    """Do.\n\n    Args:\n        a: one.\n        b: two.\n        rest: more.\n    """'
    assert documented_but_missing(ast.parse(text).body[0]) == ["b"]
    text = 'class C:\n    """It.\n\n    Attributes:\n        x: one.\n        y: two: more.\n    """\n\n    x: int'
    assert documented_but_missing(ast.parse(text).body[0]) == ["y"]


def test_documented_parameters_and_fields_exist():
    found = {
        f"{module}: {name}: {missing}"
        for module in MODULES
        for name, node in definitions(module)
        for missing in documented_but_missing(node)
    }
    assert found == set()


def test_modules_are_short():
    lengths = {str(module): len((ROOT / module).read_text().splitlines()) for module in MODULES}
    assert {module: lines for module, lines in lengths.items() if lines > MAX_LINES} == {}


def test_only_execution_imports_dask():
    imports = re.compile(r"^\s*(?:import|from)\s+(?:dask|distributed)\b", re.MULTILINE)
    users = {module.parent for module in MODULES if imports.search((ROOT / module).read_text())}
    assert users == {Path("agg_pipeline/execution")}


def loaded_by(script):
    """What a script prints, and which of torch and Dask it has loaded."""
    script = f"import sys\n{script}\nprint(*sorted({{'torch', 'dask', 'distributed'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    *printed, loaded = done.stdout.splitlines()
    return "\n".join(printed), loaded.split()


@pytest.mark.parametrize("module", READERS)
def test_readers_of_results_load_neither_torch_nor_dask(module):
    assert loaded_by(f"import {module}\nassert {module!r} in sys.modules") == ("", [])


def test_commands_that_read_a_database_load_neither_torch_nor_dask(built, toy_plan):
    finish(built, toy_plan, sidecars(built, DATABASE_LAYOUT))
    script = f"""
from agg_pipeline.cli.main import main
for command in ("status", "validate"):
    try:
        main(["proposals", command, {built.url!r}])
    except SystemExit as ended:
        print(command, ended.code)
"""
    printed, loaded = loaded_by(script)
    assert "complete" in printed
    assert loaded == []
    assert [line for line in printed.splitlines() if line.startswith(("status ", "validate "))] == [
        "status 0",
        "validate 0",
    ]


def printed_raw(module):
    """What a module prints, other than constants and what is made printable in place."""
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if name in ("print", "click.echo", "click.secho") or name.endswith(
            (".stdout.write", ".stderr.write", "console.print")
        ):
            what = node.args[0]
            made = ast.unparse(what.func) if isinstance(what, ast.Call) else ""
            if not isinstance(what, ast.Constant) and made not in ("printable", "printable_lines"):
                yield ast.unparse(node)


def test_names_of_users_and_files_are_printed_without_control_characters():
    found = {module: raw for module in MODULES if (raw := list(printed_raw(module)))}
    assert found == {
        # It makes lines printable; a table has printable cells.
        Path("agg_pipeline/report/printed.py"): [
            "print(shown, file=sys.stderr if err else sys.stdout, flush=True)",
            "console.print(content, markup=False, soft_wrap=isinstance(content, str))",
        ],
        # The data sets that this package knows.
        Path("agg_pipeline/cli/data.py"): [
            """click.secho(f"{name}: {about.title} ({' and '.join(about.levels)} masks)", bold=True)"""
        ],
        # Its formatter makes messages printable.
        Path("agg_pipeline/cli/run_log.py"): ["print(self.format(record), file=sys.stderr)"],
    }
