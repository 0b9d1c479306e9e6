"""The structure of the package: permitted imports, implemented maps, and documentation."""

import ast
import graphlib
import importlib
import os
import sys
import tomllib
from pathlib import Path

import pytest
from cases import HOLES, LAYERS, NETWORKS
from processes import run

from revgn import layers, maps, networks
from revgn._dispatch import has_map

ROOT = Path(__file__).parent.parent

LAYOUT = [
    "errors",
    "_dispatch",
    "structs",
    "arrays",
    "cost",
    "trees",
    "linalg",
    "data",
    "maps",
    "layers",
    "networks",
    "convert",
    "losses",
    "solvers",
    "optimizers",
    "settings",
    "analysis",
    "training",
    "store",
    "launch",
    "views",
    "sweeps",
    "studies",
    "testing",
]
# A module imports only from its own folder or from one of smaller depth.
DEPTH = {part: depth for depth, part in enumerate((*LAYOUT, "", "cli"))}  # "": the flat names of revgn itself

MODULES = sorted(path for folder in ("revgn", "cli") for path in (ROOT / folder).rglob("*.py"))
PACKAGES = sorted(path.parent for path in MODULES if path.name == "__init__.py")


def dotted(path: Path) -> str:
    """Name by which a module of ours is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(("revgn_cli", *parts[1:]) if parts[0] == "cli" else parts)


def part_of(module: str) -> str | None:
    """Return the entry of `DEPTH` to which a dotted name belongs; None for modules of other packages."""
    first, *rest = module.split(".")
    if first == "revgn_cli" or rest == ["__main__"]:
        return "cli"
    if first != "revgn":
        return None
    return rest[0] if rest and not rest[0].startswith("__") else ""


def imports(path: Path) -> list[str]:
    """All modules of ours that `path` imports, at its top or inside functions; types are no imports."""
    known = {dotted(other) for other in MODULES}
    package = dotted(path) if path.name == "__init__.py" else dotted(path).rpartition(".")[0]
    found = []
    for node in ast.walk(_without_types(ast.parse(path.read_text(encoding="utf-8")))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(filter(None, (*package.split(".")[: 1 - node.level or None], base)))
            found += [name if (name := f"{base}.{alias.name}") in known else base for alias in node.names]
    return [name for name in found if part_of(name) is not None]


def _without_types(tree: ast.Module) -> ast.Module:
    """Leave out what is imported for type checkers alone."""
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return tree


IDS = {"ids": lambda path: dotted(path)}


def test_imports_go_down():
    for path in MODULES:
        own = part_of(dotted(path))
        assert own in DEPTH, f"{dotted(path)} has no depth yet: add it to DEPTH"
        for name in imports(path):
            part = part_of(name)
            below = DEPTH[part] < DEPTH[own] or part == "errors"  # a module that imports nothing
            assert part == own or below, f"{dotted(path)} (depth {DEPTH[own]}) imports {name}"


def test_no_modules_import_each_other():
    """Neither two modules nor two folders, directly or through others."""
    modules = {dotted(path): set(imports(path)) for path in MODULES}
    folders = {}
    for name, imported in modules.items():
        found = {part_of(other) for other in imported} - {part_of(name)}
        folders.setdefault(part_of(name), set()).update(found)
    for graph in (modules, folders):
        list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle


def test_imports_are_seen():
    """The function `imports` finds some imports that are known to exist, in several forms."""
    assert "revgn.maps" in imports(ROOT / "revgn/layers/coupling.py")
    assert "revgn.trees" in imports(ROOT / "revgn/solvers/block.py")  # from revgn import trees
    assert "revgn.layers.activation" in imports(ROOT / "revgn/layers/coupling.py")


LAYER_FILES = [p for p in MODULES if p.parent.name == "layers" and p.stem not in ("__init__", "coupling")]


@pytest.mark.parametrize("path", LAYER_FILES, **IDS)
def test_layers_do_not_import_each_other(path):
    """Only a coupling imports feature maps; other layers share the activations and the base of feature maps.

    The maps of convolutions are in two files.
    """
    shared = {"revgn.layers.activation", "revgn.layers.feature_map"}
    shared |= {"revgn.layers.convolution"} if path.stem == "convolution_rows" else set()
    assert {n for n in imports(path) if part_of(n) == "layers"} <= shared


SEEN_BY_ALL = ("solvers", "optimizers")


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name in SEEN_BY_ALL], **IDS)
def test_solvers_and_optimizers_use_no_field_of_a_layer(path):
    """A user-defined layer has the maps, but none of these fields."""
    fields = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert not fields & {"half", "weight", "projection", "activation", "basis"}, dotted(path)


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name == "store"], **IDS)
def test_the_store_imports_nothing_of_training(path):
    assert {part_of(name) for name in imports(path)} <= {"store", "errors", "linalg", "data", "analysis"}


def test_only_arrays_knows_the_libraries():
    """Modules outside of the folders left out here import neither CuPy, SciPy nor array_api_compat."""
    for path in MODULES:
        if part_of(dotted(path)) in ("arrays", "cli", "data", "studies", "training"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] not in ("cupy", "cupyx", "array_api_compat", "scipy"), dotted(path)


def test_packages_are_all_installed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = settings["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(dotted(path / "__init__.py") for path in PACKAGES)


PUBLIC = [package for package in PACKAGES if package.name != "cli"]


@pytest.mark.parametrize("package", PUBLIC, ids=lambda path: dotted(path / "__init__.py"))
def test_public_names_are_there_and_documented(package):
    module = importlib.import_module(dotted(package / "__init__.py"))
    public = getattr(module, "__all__", [])
    for name in public:
        assert hasattr(module, name), f"{module.__name__}.__all__ names {name}, which is not there"
    documented = {}
    for path in sorted(package.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in public:
                documented[node.name] = documented.get(node.name) or bool(ast.get_docstring(node))
    missing = [name for name, is_there in documented.items() if not is_there]
    assert not missing, f"{module.__name__}: no docstring on {', '.join(missing)}"


GENERICS = {
    name: function
    for name, function in vars(maps).items()
    if hasattr(function, "register") and hasattr(function, "dispatch")
}
STRUCTS = {
    name: struct
    for package in (layers, networks)
    for name, struct in vars(package).items()
    if isinstance(struct, type) and has_map(maps.forward, struct)
}


def test_the_vocabulary_is_found():
    assert {"forward", "inverse", "jvp_input", "vjp_params", "solve_params"} <= set(GENERICS)
    assert {"Coupling", "RandomFeatures", "LinearFeatures", "Readout", "Chain", "Network"} <= set(STRUCTS)


def test_missing_maps_are_declared():
    holes = {
        (struct_name, map_name)
        for struct_name, struct in STRUCTS.items()
        for map_name, function in GENERICS.items()
        if not has_map(function, struct)
    }
    assert holes == set(HOLES)


def test_contracts_are_documented():
    for name, function in GENERICS.items():
        assert function.__doc__, name
        assert name in maps.__doc__ or name == "init", f"{name} is missing in the vocabulary of maps.py"


def test_every_layer_is_a_case(numpy_backend):
    built = {type(case.build(numpy_backend, "float64")[0]).__name__ for case in [*LAYERS, *NETWORKS]}
    assert built == {*STRUCTS, "Scaling"} - {"Chain"}  # chains are tested as the bodies of networks


HEAVY = ("cupy", "h5py", "matplotlib", "rich", "click", "array_api_strict", "pytest", "hypothesis")


LIGHT = ("revgn", "revgn.solvers", "revgn.losses", "revgn.optimizers", "revgn.training", "revgn.testing")


def test_imports_are_light():
    code = f"import {', '.join(LIGHT)}, sys; print(*sorted({set(HEAVY)!r} & set(sys.modules)))"
    done = run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stdout.split()) == (0, [])
