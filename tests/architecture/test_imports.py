"""Import rules that import-linter cannot express: where a library is imported, how, what a process loads."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import edgeface

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Loaded by the function that uses them; `import edgeface` must stay thin without them.
_WHERE_USED = {"onnxruntime", "picamera2", "starlette", "rich", "matplotlib"}
_TRAINING_OR_NETWORK = {"torch", "tensorflow", "onnx", "jax", "quantization", "requests", "urllib3", "ssl"}
_NOT_AT_IMPORT = _WHERE_USED | _TRAINING_OR_NETWORK | {"cv2", "ai_edge_litert", "click", "PIL", "socket"}

_OWN = {"edgeface", "tests", "benchmarks", "firmware", "quantization"}  # in the checkout

# Distributions whose module has another name.
_IMPORTED_AS = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "ai-edge-litert": "ai_edge_litert",
}


@pytest.fixture(scope="module")
def modules(repository: Path) -> dict[str, ast.Module]:
    """Path inside the package -> its syntax tree."""
    package = repository / "edgeface"
    found = {str(path.relative_to(package)): ast.parse(path.read_text()) for path in package.rglob("*.py")}
    assert "errors.py" in found
    return found


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run while a module is imported: no bodies of functions, nothing for types alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from _at_import(child)


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module or ''}.{alias.name}" for alias in node.names]
    return []


def test_the_reader_of_imports_tells_import_time_from_run_time() -> None:
    tree = ast.parse(
        "if TYPE_CHECKING:\n    import a\ntry:\n    import b\nexcept ImportError:\n    import c.d\n"
        "def f():\n    import e\nclass K:\n    from f import g\n    def m(self):\n        import h\n"
    )
    assert [name for node in _at_import(tree) for name in _names(node)] == ["b", "c.d", "f.g"]


def test_heavy_libraries_are_imported_where_they_are_used(modules: dict[str, ast.Module]) -> None:
    early = [
        f"{path}: {name}"
        for path, tree in modules.items()
        for node in _at_import(tree)
        for name in _names(node)
        if name.split(".")[0] in _WHERE_USED
    ]
    assert early == []


def test_no_camera_is_touched_at_import(modules: dict[str, ast.Module]) -> None:
    early = [
        path
        for path, tree in modules.items()
        for node in _at_import(tree)
        if isinstance(node, ast.Attribute) and node.attr == "VideoCapture"
    ]
    assert early == []


def test_nothing_below_the_command_line_imports_the_package_itself(modules: dict[str, ast.Module]) -> None:
    """`from edgeface import X` reaches any layer through the lazy names, where import-linter cannot look."""
    public = set(edgeface.__all__)
    reaching = []
    for path, tree in modules.items():
        if path.startswith("cli") or path == "__main__.py":
            continue
        for node in ast.walk(tree):
            for name in _names(node):
                head, _, rest = name.partition(".")
                if head == "edgeface" and (not rest or rest in public):
                    reaching.append(f"{path}: {name}")
    assert reaching == []


def test_imports_by_string_stay_in_two_places(modules: dict[str, ast.Module]) -> None:
    """The lazy public names and the table of backends; import-linter sees neither."""
    dynamic = {
        path
        for path, tree in modules.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr == "import_module")
        or (isinstance(node, ast.Name) and node.id in {"__import__", "import_module", "exec", "eval"})
    }
    assert dynamic <= {"__init__.py", "backends/base.py"}


def test_every_module_says_what_is_public(modules: dict[str, ast.Module]) -> None:
    silent = [
        path
        for path, tree in modules.items()
        if not any(
            isinstance(target, ast.Name) and target.id == "__all__"
            for node in tree.body
            if isinstance(node, (ast.Assign, ast.AnnAssign))
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        )
    ]
    assert silent == []


def test_a_fresh_import_loads_nothing_heavy() -> None:
    script = "import sys, edgeface; print(*sorted(name for name in sys.modules if '.' not in name))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "edgeface" in loaded
    assert loaded & _NOT_AT_IMPORT == set()


def test_every_public_name_resolves_and_brings_no_network_or_training() -> None:
    script = (
        "import sys, edgeface; [getattr(edgeface, name) for name in edgeface.__all__]; "
        "print(*sorted(name for name in sys.modules if '.' not in name))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"edgeface", "numpy"} <= loaded
    assert loaded & _TRAINING_OR_NETWORK == set()


def test_what_the_tests_import_is_asked_for_by_the_dev_extra(repository: Path) -> None:
    """The README's test command starts from an empty environment: one forgotten name stops the whole run."""
    text = (repository / "pyproject.toml").read_text()
    asked: set[str] = set()
    for key in ("dependencies", "dev"):
        block = re.search(rf"^{key} = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
        assert block is not None, key
        names = re.findall(r'^ +"([\w-]+)', block[1], re.MULTILINE)
        asked |= {_IMPORTED_AS.get(name, name) for name in names}
    missing = [
        f"{path.relative_to(repository)}: {name}"
        for path in (repository / "tests").rglob("test_*.py")
        if path.parent.name != "quantization"  # skipped as a whole without the `workshop` extra
        for node in _at_import(ast.parse(path.read_text()))
        for name in _names(node)
        if name.split(".")[0] not in asked | _OWN | sys.stdlib_module_names
    ]
    assert missing == []


def test_the_source_archive_holds_what_the_tests_import(repository: Path) -> None:
    """The README's test command must run in an unpacked sdist too."""
    text = (repository / "pyproject.toml").read_text()
    block = re.search(r"^\[tool\.hatch\.build\.targets\.sdist\]\n(.*?)^\[", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    shipped = re.search(r"^include = \[(.*?)\]", block[1], re.MULTILINE | re.DOTALL)
    assert shipped is not None
    used = {
        name.split(".")[0]
        for path in (repository / "tests").rglob("*.py")
        for node in _at_import(ast.parse(path.read_text()))
        for name in _names(node)
    } & _OWN
    assert used == _OWN
    assert used - set(re.findall(r'"/(\w+)"', shipped[1])) == set()
