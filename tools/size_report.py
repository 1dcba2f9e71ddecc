"""Reports how large the Python files and functions are; fails on one above a hard cap."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("sira_grpc", "sdks/python/sira_client", "tools", "tests", "bench", "demo")
FILE_AIM, FILE_CAP = 300, 400
FUNCTION_AIM, FUNCTION_CAP = 40, 60


@dataclass(frozen=True, slots=True)
class Size:
    """How many lines a file or function has, where it is, and how many it should and may have."""

    lines: int
    where: str
    aim: int
    cap: int


def measure(path: Path, name: str) -> Iterator[Size]:
    """Yields the size of a file, and of each function in it without its decorators and its docstring."""
    source = path.read_text(encoding="utf-8")
    yield Size(len(source.splitlines()), name, FILE_AIM, FILE_CAP)
    for node in ast.walk(ast.parse(source, name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = _lines(node) - (_lines(node.body[0]) if ast.get_docstring(node) else 0)
            yield Size(lines, f"{name}:{node.lineno} {node.name}", FUNCTION_AIM, FUNCTION_CAP)


def summary(kind: str, sizes: list[Size]) -> str:
    """Says the median, the 90th percentile and the maximum of some sizes."""
    lines = sorted(size.lines for size in sizes)
    median, p90 = lines[len(lines) // 2], lines[len(lines) * 9 // 10]
    return f"{len(lines)} {kind}: median {median}, p90 {p90}, max {lines[-1]} lines"


def report(sizes: list[Size]) -> int:
    """Prints what is above its aim, the largest first, and returns how many are above their cap."""
    for kind, aim in (("files", FILE_AIM), ("functions", FUNCTION_AIM)):
        print(summary(kind, [size for size in sizes if size.aim == aim]))
    for size in sorted(sizes, key=lambda size: -size.lines):
        if size.lines > size.aim:
            verdict = f"above the cap of {size.cap}" if size.lines > size.cap else f"above the aim of {size.aim}"
            print(f"  {size.lines:5} {size.where}: {verdict}")
    return sum(size.lines > size.cap for size in sizes)


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def main() -> None:
    """Entry point."""
    paths = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    sizes = [size for path in paths for size in measure(path, path.relative_to(ROOT).as_posix())]
    sys.exit(1 if report(sizes) else 0)


if __name__ == "__main__":
    main()
