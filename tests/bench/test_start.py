"""How long short commands take, beside the smallest program that click can be, started the same way."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest

from tests.bench.rounds import Contender, measured, table
from tests.bench.test_foreground import just
from tests.whole.homes import clean_environment, command_line, make_home, performed, write_routine, write_skill

CLICK: Final = "click's own start"
RUNS: Final = 20
# As the installed `minion` is: a console script of the same interpreter.
SMALLEST: Final = """\
#!{python}
import sys
import click

@click.group()
def cli():
    "Nothing."

@cli.command()
def runs():
    click.echo("No runs yet.")

sys.exit(cli())
"""


@pytest.mark.bench
def test_help_and_listings_beside_the_smallest_click_program(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    write_skill(home, "say", "print('done')")
    write_routine(home, "say", "say")
    for _ in range(RUNS):
        performed(home, "say")
    script = tmp_path / "smallest"
    script.write_text(SMALLEST.format(python=sys.executable))
    script.chmod(0o755)
    env = clean_environment(home)
    contenders: dict[str, Contender] = {
        CLICK: just(str(script), "--help", env=env),
        "click, a verb of one line": just(str(script), "runs", env=env),
    }
    for words in ("--help", "runs", "routine list", "schedule list", "cost", "logs last", "where"):
        contenders[f"minion {words}"] = just(*command_line(home, *words.split()), env=env)
    figures = measured(contenders, rounds=15)
    print(f"\n{table(figures, unit=CLICK, goals={})}")
