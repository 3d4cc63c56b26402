"""Help: every command's says what its docstring says, brackets included."""

import re

import pytest
from typer.testing import CliRunner

from realtime.cli.commands import app

COMMANDS = {
    command.name or command.callback.__name__: command.callback
    for command in app.registered_commands
    if command.callback
}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_word_in_brackets(name: str) -> None:
    doc = COMMANDS[name].__doc__ or ""
    shown = CliRunner().invoke(app, [name.replace("_", "-"), "--help"], env={"COLUMNS": "200"}).stdout
    words = re.findall(r"\[[a-z_.]+\]", doc)
    assert doc
    assert [word for word in words if word not in shown] == []
