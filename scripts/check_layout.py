"""tests/unit mirrors the tree: every module with logic has its test module, and no test module lacks its module.

Exit 1 lists both kinds. A module without a single function or class body that acts (only data, imports, re-exports)
needs no test; `__main__` and `__init__` are entry points, tested where they lead.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("mesh", "injector", "samples")


def has_logic(path: Path) -> bool:
    """Does the module define a function (anywhere), other than properties of plain data?"""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree))


def expected(path: Path) -> Path:
    """mesh/proxy/route.py -> tests/unit/mesh/proxy/test_route.py"""
    relative = path.relative_to(ROOT)
    return ROOT / "tests/unit" / relative.parent / f"test_{relative.name}"


def tested(test: Path) -> bool:
    """Is there a module, or a package, that the test module is named after? (benchmarks need no tests, but may have some.)"""
    relative = test.relative_to(ROOT / "tests/unit")
    module = ROOT / relative.parent / relative.name.removeprefix("test_")
    return module.exists() or (module.with_suffix("") / "__init__.py").exists()


def main() -> int:
    modules = [
        path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name not in ("__init__.py", "__main__.py")
    ]
    wanted = {expected(path): path for path in modules}
    missing = [(path, test) for test, path in wanted.items() if not test.exists() and has_logic(path)]
    orphans = [test for test in sorted((ROOT / "tests/unit").rglob("test_*.py")) if not tested(test)]
    for path, test in missing:
        print(f"{path.relative_to(ROOT)}: no {test.relative_to(ROOT)}")
    for test in orphans:
        print(f"{test.relative_to(ROOT)}: there is no such module")
    return 1 if missing or orphans else 0


if __name__ == "__main__":
    sys.exit(main())
