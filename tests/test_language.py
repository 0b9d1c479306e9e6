"""The texts that users read use the terms of the field, one per meaning.

The texts are the README, the manual, the reference, the changelog, the help of every command, and the
docstrings of the functions and classes that `revgn` exports. Code and names (in blocks, between backticks, in
doctests) are left out.
"""

import inspect
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from revgn_cli.main import COMMANDS, main

import revgn

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "examples" / "guide").glob("*.md")),
    ROOT / "examples" / "reference.md",
    ROOT / "revgn" / "CHANGELOG.md",
]

REPLACED = {  # expressions that the texts do not contain, by the term that replaces them
    "learning rate": r"(?<!learning )(?<!learning-)\brates?\b",
    "momentum": r"\bcarr(?:y|ies|ied)\b",
    "epoch": r"\bpass(?:es)?\b",
    "in wall-clock time": r"\bby (?:the clock|seconds)\b",
    "metric": r"\bfigures?\b|\bseries values?\b",
    "output gradient, output step": r"\bwanted\b",
    "relative residual": r"\bexactness\b",
    "block step, block-wise pseudoinverse": r"\bblock inverses?\b",
    "block weights": r"\bshares\b",
    "centered logits": r"\bcontrasts?\b",
    "initialization": r"\bthe start\b",
    "loss decrease": r"\bgains?\b",
    "training, validation, test set": r"\b(?:training|validation|test) parts?\b",
    "standard deviation, standard error": r"(?<!standard )\bdeviations?\b",
    "trial": r"\bjobs?\b",
    "feature map": r"\bfeatures of the other half\b",
}
ALLOWED = {  # expressions that are not meant, with the reason
    r"\b(?:forward|backward) pass(?:es)?\b": "terms of the field",
    r"\bcarr(?:y|ies|ied) (?:back|over)\b": "the verb",
    r"\bat the start of (?:the|a) run\b": "a point in time",
    r"\b(?:a table, a figure|paper's figures)\b": "plots, not numbers",
    r"(?<=\| )(?:shares|contrasts|carry, carry_limit)(?= \|)|\(shares\)": "names of settings of version 0.1",
    r"\bgain ratio\b": "the term of Levenberg-Marquardt methods",
}


def prose(text):
    """A text without code and names, on one line."""
    text = re.sub(r"^```.*?^```", " ", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^ *(?:>>>|\.\.\.).*$", " ", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`\n]*`", " ` ", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return " ".join(text.split())


def replaced_terms(text):
    """Replaced terms in a text, each with the words around it and the term to take."""
    text = prose(text)
    for allowed in ALLOWED:
        text = re.sub(allowed, " ", text, flags=re.IGNORECASE)
    return [
        f"{text[max(found.start() - 40, 0) : found.end() + 40]!r}: take {term}"
        for term, pattern in REPLACED.items()
        for found in re.finditer(pattern, text, re.IGNORECASE)
    ]


def commands():
    """Arguments that lead to each command, and to each subcommand."""
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        yield (name,)
        if isinstance(command, click.Group):
            yield from ((name, sub) for sub in command.commands)


def documented():
    """Exported functions and classes, and the public methods of the classes, by name."""
    for name in revgn.__all__:
        value = getattr(revgn, name)
        if inspect.isfunction(value) or inspect.isclass(value) or callable(value):
            yield name, value
        if inspect.isclass(value):
            for part, member in vars(value).items():
                if not part.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                    yield f"{name}.{part}", member


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages(page):
    assert replaced_terms(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("arguments", [(), *commands()], ids=" ".join)
def test_help(arguments):
    options = ["--help", "--help-all"] if arguments[:1] in (("train",), ("sweep",)) else ["--help"]
    for option in options:
        shown = CliRunner().invoke(main, [*arguments, option])
        assert shown.exit_code == 0
        assert replaced_terms(shown.stdout) == []


def test_docstrings():
    """Also: the first sentence says what a thing is; it does not open with a question word."""
    found = {name: replaced_terms(inspect.getdoc(value) or "") for name, value in documented()}
    assert {name: terms for name, terms in found.items() if terms} == {}
    questions = [
        name for name, value in documented() if re.match(r"Wh(?:o|at)\b", inspect.getdoc(value) or "")
    ]
    assert questions == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("The rate of a pass", 2),
        ("The learning\nrate, in the forward pass; `rate`", 0),
        ("mean and deviation, mean and standard deviation", 1),
        ("```sh\nrevgn train --carry 1\n```\n>>> rate = 1", 0),
        ("the test part, over training parts", 2),
    ],
)
def test_terms_are_found(text, count):
    assert len(replaced_terms(text)) == count
