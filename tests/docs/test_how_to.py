"""The tutorial and the how-to pages do what they say: files are made, commands run, diffs fit."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[2]
PAGES = HOME / "docs" / "how-to"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`([\w-]+\.(?:py|toml))`")


def blocks(page: str) -> list[tuple[str, str, str]]:
    """The blocks of a page: the text before each, its language and its content."""
    text = (PAGES / page).read_text()
    return [
        (text[: found.start()].rsplit("```", 1)[-1], found[1], found[2])
        for found in BLOCK.finditer(text)
    ]


def execute(command: str, folder: Path) -> str:
    """Run one line of a page as a person would in that folder."""
    here = {"meanfield": [sys.executable, "-m", "flows.cli"], "python": [sys.executable]}
    first, *rest = shlex.split(command)
    run = subprocess.run(
        [*here[first], *rest],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert run.returncode == 0, f"{command}\n{run.stdout}{run.stderr}"
    return run.stdout


def compare(shown: str, printed: str) -> None:
    """See that what a page shows was printed, in that order; … stands for anything."""
    parts = re.sub(r"\s+", " ", shown).split("…")
    pattern = ".*?".join(re.escape(part.strip()) for part in parts)
    assert re.search(pattern, re.sub(r"\s+", " ", printed)), f"{shown}\nis not in\n{printed}"


def follow(page: str, folder: Path) -> None:
    """Make the files of a page, run its commands and its Python."""
    for before, language, content in blocks(page):
        named = FILE.findall(before)
        if language == "toml" or (language == "python" and named and named[-1].endswith(".py")):
            (folder / named[-1]).write_text(content)
        elif language == "python":
            script = folder / "block.py"
            script.write_text(content)
            execute("python block.py", folder)
        elif language == "sh":
            for command, shown in re.findall(
                r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", content, re.MULTILINE
            ):
                compare(shown, execute(command, folder))


@pytest.mark.slow
@pytest.mark.parametrize(
    "pages",
    [
        ["my-own-step.md"],
        ["my-own-data.md"],
        ["many-particles.md"],
        ["../tutorial.md", "../reading-a-report.md"],
    ],
    ids=lambda pages: pages[0],
)
def test_pages_can_be_followed(pages: list[str], tmp_path: Path) -> None:
    for page in pages:
        follow(page, tmp_path)


def apply(diff: str, folder: Path) -> int:
    """Make the changes that a page shows as a diff without line numbers; returns how many."""
    count = 0
    for file, hunks in re.findall(r"^\+\+\+ b/(.*)\n((?:(?!--- ).*\n)*)", diff, re.MULTILINE):
        path = folder / file
        for hunk in re.split(r"^@@.*@@\n", hunks, flags=re.MULTILINE)[1:]:
            lines = hunk.splitlines()
            old = "\n".join(line[1:] for line in lines if not line.startswith("+"))
            new = "\n".join(line[1:] for line in lines if not line.startswith("-"))
            text = path.read_text()
            assert text.count(old) == 1, f"{file}: {old}"
            path.write_text(text.replace(old, new))
            count += 1
    return count


@pytest.mark.slow
def test_the_activation_of_the_page_is_one(tmp_path: Path) -> None:
    for name in ("solvers", "tests/solvers", "pyproject.toml"):
        source = HOME / name
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    diffs = [text for _, language, text in blocks("my-own-activation.md") if language == "diff"]
    assert sum(apply(diff, tmp_path) for diff in diffs) == 12
    names = ("activations", "closed_results", "rk4_adjoint")
    tests = " ".join(f"tests/solvers/test_{name}.py" for name in names)
    command = f"python -m pytest -q -p no:cacheprovider {tests} -k softplus"
    compare(" passed", execute(command, tmp_path))
