"""Who imports whom: the rules of ARCHITECTURE.md, kept by reading the code."""

import ast
import functools
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "showcause"
# Each may import the ones before it.
LAYERS = ["layers", "nets", "methods", "model", "importing", "exporting", "worker", "handler", "evaluation", "train"]
TORCH_FREE = [
    "admin", "agreement", "box", "channels", "client", "clock", "engine", "errors", "freed_memory", "gateway", "image",
    "manifest",
    "map_scores", "outline", "part_names", "paths", "placing", "progress", "receipt", "render",
    "render_channels", "render_parts", "reply", "request", "sameness", "store", "tls", "v1", "verification", "wire",
    "wire_explanation", "wire_tables", "wishes",
]  # fmt: skip
COMMAND_LINE = ["cli", "commands"]  # torch-free until a subcommand that needs torch runs


@functools.cache
def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
        if "_bundled" not in path.parts
    }


@functools.cache
def imports(path: Path) -> set[str]:
    """Every module that the file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules_imported(path: Path) -> set[str]:
    """Modules of ours that the file imports; ``from package import module`` means the module, not the package."""
    found = imports(path) & set(modules())
    return {name for name in found if not any(other.startswith(f"{name}.") for other in found)}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_module_has_a_room():
    rooms = {room(module) for module in modules()} - {""}
    assert rooms == set(LAYERS) | set(TORCH_FREE) | set(COMMAND_LINE)


@pytest.mark.parametrize("name", TORCH_FREE)
def test_torch_free_rooms_reach_no_torch_even_indirectly(name):
    pending, seen = [module for module in modules() if room(module) == name], set()
    while pending:
        module = pending.pop()
        seen.add(module)
        for imported in imports(modules()[module]):
            assert imported.split(".")[0] != "torch", f"{module} imports torch"
            if imported in modules() and imported not in seen:
                pending.append(imported)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_import_only_what_lies_below(name):
    forbidden = set(LAYERS[LAYERS.index(name) + 1 :]) | {"gateway", "client", "engine", "cli", "commands"}
    for module, path in modules().items():
        if room(module) == name:
            ours = [name for name in imports(path) if name.startswith("showcause.")]
            wrong = {room(other) for other in ours if not other.startswith("showcause.engine.v1")} & forbidden
            assert not wrong, f"{module} imports {wrong}"


def test_no_circles():
    """Sorting the modules by who imports whom succeeds."""
    graph = {module: modules_imported(path) - {module} for module, path in modules().items()}
    del graph["showcause"]  # imports the client when it is first used
    list(TopologicalSorter({module: others - {"showcause"} for module, others in graph.items()}).static_order())


def test_only_the_engine_knows_torchserve():
    for module, path in modules().items():
        if room(module) != "engine":
            assert not {name.split(".")[0] for name in imports(path)} & {"ts", "model_archiver"}, module


def test_importing_the_client_loads_no_torch():
    code = "import sys, showcause; showcause.Client; showcause.AsyncClient; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_line_loads_torch_only_where_it_is_needed():
    code = """
import sys
from showcause import cli
from showcause.commands import evaluate, explain, models
assert cli.main(["models", "list"]) == 0
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
