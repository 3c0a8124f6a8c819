"""Checks the text of the repository: line width, and links and paths in documents.

Prints each fault as `file:line: what is wrong` and exits with 1 if there is one.
"""

import functools
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

WIDTH = 100
COMMENT = {
    ".proto": re.compile(r"^\s*(//|\*)"),
    ".rs": re.compile(r"^\s*//"),
    ".sql": re.compile(r"^\s*--"),
}
HASH_COMMENT = re.compile(r"^\s*#")
# What no line break helps: a table, a link's target, a URL, a badge.
UNBREAKABLE = re.compile(r"^\s*(\||\[[^]]+\]:|[^ ]*https?://\S+$|<)|https?://\S{60,}")
LINK = re.compile(r"!?\[(?:[^][]|\[[^]]*\])*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
DEFINED_LINK = re.compile(r"^\s*\[[^]]+\]:\s*(\S+)")
HTML_LINK = re.compile(r"(?:src|srcset|href)=\"([^\"]+)\"")
CODE = re.compile(r"`([^`]+)`")
# Documents that name files of the tree, so that every such name must be one.
MAPS = {"ARCHITECTURE.md", "CONTRIBUTING.md"}
PATH = re.compile(r"^[\w.-]+(?:/[\w.{}-]+)+$")
FILE_ENDINGS = {".rs", ".md", ".toml", ".py", ".proto", ".txt", ".tsv", ".svg", ".sh"}

Fault = tuple[pathlib.Path, int, str]


def main() -> int:
    faults: list[Fault] = []
    for file in tracked_files():
        try:
            lines = file.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        faults.extend(wide_lines(file, lines))
        if file.suffix == ".md":
            faults.extend(dead_links(file, lines))
            if file.name in MAPS:
                faults.extend(missing_paths(file, lines))
    for file, number, fault in faults:
        print(f"{file}:{number}: {fault}")
    return 1 if faults else 0


@functools.cache
def tracked_files() -> tuple[pathlib.Path, ...]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], check=True, capture_output=True, text=True
    )
    files = (pathlib.Path(name) for name in listed.stdout.split("\0") if name)
    return tuple(file for file in files if file.is_file() and not file.is_symlink())


def wide_lines(file: pathlib.Path, lines: list[str]) -> Iterator[Fault]:
    prose = file.suffix == ".md"
    code = file.suffix in {".rs", ".py", ".proto", ".toml", ".sh", ".sql"} or (
        not file.suffix and lines and lines[0].startswith("#!")
    )
    if not prose and not code:
        return
    fenced = False
    for number, line in enumerate(lines, 1):
        if prose and line.lstrip().startswith("```"):
            fenced = not fenced
        if len(line) <= WIDTH or UNBREAKABLE.search(line) or (prose and fenced):
            continue
        if prose or COMMENT.get(file.suffix, HASH_COMMENT).match(line):
            yield file, number, f"{len(line)} columns; {WIDTH} are the limit"


def outside_code_blocks(lines: list[str]) -> Iterator[tuple[int, str]]:
    fenced = False
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


def dead_links(file: pathlib.Path, lines: list[str]) -> Iterator[Fault]:
    for number, line in outside_code_blocks(lines):
        text = CODE.sub("", line)
        targets = (
            LINK.findall(text) + DEFINED_LINK.findall(text) + HTML_LINK.findall(text)
        )
        for target in targets:
            if re.match(r"[a-z][a-z+.-]*:", target):
                continue
            path, _, fragment = target.partition("#")
            found = (file.parent / path) if path else file
            if not found.exists():
                yield file, number, f"the link to {target} leads nowhere"
            elif fragment and found.suffix == ".md" and fragment not in anchors(found):
                yield file, number, f"{found} has no heading #{fragment}"


@functools.cache
def anchors(file: pathlib.Path) -> frozenset[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    names = set()
    for _, line in outside_code_blocks(file.read_text().splitlines()):
        heading = re.match(r"#{1,6}\s+(.*)", line)
        if not heading:
            continue
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).lower().strip()
        name = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        count = found.get(name, 0)
        found[name] = count + 1
        names.add(f"{name}-{count}" if count else name)
    return frozenset(names)


def missing_paths(file: pathlib.Path, lines: list[str]) -> Iterator[Fault]:
    """Paths in code marks that are not in the tree: from its root, or from a crate's folder."""
    for number, line in outside_code_blocks(lines):
        for path in CODE.findall(line):
            if (
                not PATH.match(path)
                or pathlib.PurePath(path).suffix not in FILE_ENDINGS
            ):
                continue
            if not any(pathlib.Path(root, path).exists() for root in ("", "crates")):
                yield file, number, f"{path} does not exist"


if __name__ == "__main__":
    sys.exit(main())
