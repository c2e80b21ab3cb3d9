"""Imports flow one way; clock, environment and catch-all handlers stay in their few places (DESIGN §4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house import layers
from tests.house.source_tree import ROOT, Checker, Source, gathered, sources


def scripts_beside(source: Source) -> frozenset[str]:
    """A skill brings the other files of its `scripts` folder along; the tool host brings its own modules."""
    if not source.path.startswith("skills/"):
        return frozenset(Path(path).stem for path in layers.RUN_INSIDE)
    return frozenset(path.stem for path in (ROOT / source.path).parent.glob("*.py"))


def test_imports_flow_one_way() -> None:
    assert gathered(layers.layer_breaches, "server", "minion") == []


def test_libraries_stay_in_their_rooms() -> None:
    assert gathered(layers.library_breaches, "server", "minion") == []


def test_what_runs_in_the_sandbox_needs_only_the_standard_library() -> None:
    alone = [source for source in sources("minion", "skills") if layers.runs_alone(source.path)]
    assert [
        breach for source in alone for breach in layers.standard_library_breaches(source, scripts_beside(source))
    ] == []


def test_only_the_settings_modules_read_the_environment() -> None:
    assert gathered(layers.environment_breaches, "server", "minion") == []


def test_only_the_clock_modules_read_the_clock() -> None:
    assert gathered(layers.clock_breaches, "server", "minion", "skills") == []


def test_only_the_tops_catch_everything() -> None:
    assert gathered(layers.catch_all_breaches, "server", "minion", "skills") == []


def test_the_checkers_read_a_tree_that_is_really_there() -> None:
    paths = {source.path for source in sources("server", "minion")}
    assert {"server/contract/refusals.py", "server/contract/topology.py", "minion/__init__.py"} <= paths


LAYER = layers.layer_breaches
LIBRARY = layers.library_breaches
ALONE = layers.standard_library_breaches
ENVIRONMENT = layers.environment_breaches
CLOCK = layers.clock_breaches
CATCH_ALL = layers.catch_all_breaches

PLANTED: list[tuple[Checker, str, str]] = [
    (LAYER, "server/contract/run.py", "from server.domain import drift"),
    (LAYER, "server/domain/drift.py", "from server.storage.tables import RUNS"),
    (LAYER, "server/storage/tables.py", "import server.actions.fire"),
    (LAYER, "server/storage/tables.py", "from server.queue import port"),
    (LAYER, "server/actions/fire.py", "from server.web import bearer"),
    (LAYER, "server/tools/gap_tools.py", "from server.web import bearer"),
    (LAYER, "server/web/hooks.py", "from server.config import Settings"),
    (LAYER, "server/app.py", "from server import cli"),
    (LAYER, "server/config.py", "from server.domain import gap"),
    (LAYER, "server/cli.py", "import minion.wire"),
    (LAYER, "server/contract/run.py", "def f():\n    from minion import wire"),
    (LAYER, "server/__init__.py", "from server.contract import run"),
    (LAYER, "minion/wire.py", "from server import storage"),
    (LAYER, "minion/wire.py", "import server"),
    (LAYER, "minion/cli.py", "from server.domain import drift"),
    (LAYER, "minion/cli.py", "import importlib\nimportlib.import_module('server.domain')"),
    (LAYER, "minion/wire.py", "from minion import clock"),
    (LAYER, "minion/sandbox/bubblewrap.py", "from minion.wire import Order"),
    (LAYER, "minion/store/writer.py", "from minion.config import Settings"),
    (LAYER, "minion/store/writer.py", "from ..daemon import supervisor"),
    (LAYER, "minion/engines/script.py", "from minion.runner import budget"),
    (LAYER, "minion/engines/script.py", "from minion.store import writer"),
    (LAYER, "minion/runner/runner.py", "from minion.store import writer"),
    (LAYER, "minion/runner/runner.py", "from minion.daemon import supervisor"),
    (LAYER, "minion/runner/blocks.py", "from minion.clock import utc_now"),
    (LAYER, "minion/runner/blocks.py", "from minion import clock"),
    (LAYER, "minion/engines/script.py", "from minion.secrets_file import read_secrets"),
    (LAYER, "minion/daemon/supervisor.py", "from minion import secrets_file"),
    (LAYER, "minion/daemon/supervisor.py", "from minion.runner import runner"),
    (LAYER, "minion/daemon/supervisor.py", "from minion import app"),
    (LAYER, "minion/app.py", "from minion.commands import run"),
    (LAYER, "minion/commands/run.py", "from minion.cli import main"),
    (LAYER, "minion/daemon/supervisor.py", "from server.contract import routine"),
    (LAYER, "minion/commands/run.py", "from server.contract.documents import read_yaml"),
    (LAYER, "minion/gadgets.py", "import json"),
    (LAYER, "minion/app.py", "from tests.house import layers"),
    (LIBRARY, "minion/runner/blocks.py", "import sqlite3"),
    (LIBRARY, "minion/daemon/supervisor.py", "from aiosqlite import connect"),
    (LIBRARY, "minion/app.py", "import click"),
    (LIBRARY, "server/actions/fire.py", "from click import echo"),
    (LIBRARY, "minion/config.py", "def f():\n    import pydantic"),
    (LIBRARY, "server/contract/run.py", "from pydantic import BaseModel"),
    (LIBRARY, "server/contract/digest.py", "from server.contract import routine"),
    (LIBRARY, "server/contract/schedule.py", "import dateutil.tz"),
    (ALONE, "minion/sandbox/tool_host.py", "from server.contract import refusals"),
    (ALONE, "skills/a/scripts/run.py", "import yaml"),
    (ENVIRONMENT, "minion/runner/runner.py", "import os\nenv = dict(os.environ)"),
    (ENVIRONMENT, "minion/runner/runner.py", "import os as o\no.environ['HOME']"),
    (ENVIRONMENT, "minion/app.py", "from os import getenv\ngetenv('HOME')"),
    (CLOCK, "minion/app.py", "from datetime import UTC, datetime\ndatetime.now(UTC)"),
    (CLOCK, "minion/app.py", "import datetime as dt\ndt.date.today()"),
    (CLOCK, "server/contract/run.py", "import time\nclock = time.time"),
    (CLOCK, "skills/a/scripts/run.py", "from datetime import datetime as d\nd.utcnow()"),
    (CATCH_ALL, "minion/store/writer.py", "try:\n    f()\nexcept:\n    raise"),
    (CATCH_ALL, "minion/store/writer.py", "try:\n    f()\nexcept Exception:\n    pass"),
    (CATCH_ALL, "minion/store/writer.py", "try:\n    f()\nexcept (OSError, Exception):\n    pass"),
    (CATCH_ALL, "minion/store/writer.py", "try:\n    f()\nexcept BaseException:\n    g()"),
    (CATCH_ALL, "minion/wire.py", "import contextlib\nwith contextlib.suppress(Exception):\n    f()"),
]


@pytest.mark.parametrize(("checker", "path", "text"), PLANTED)
def test_a_planted_breach_is_caught(checker: Checker, path: str, text: str) -> None:
    assert len(checker(Source(path, text))) == 1


ALLOWED: list[tuple[Checker, str, str]] = [
    (LAYER, "server/actions/fire.py", "from server.storage import run_store\nimport server.queue.port"),
    (LAYER, "server/app.py", "from server import config, clock, web, tools"),
    (LAYER, "minion/runner/runner.py", "from minion.engines import base\nfrom minion import wire"),
    (LAYER, "minion/runner/__main__.py", "from minion import clock, runner, secrets_file, wire"),
    (LAYER, "minion/runner/blocks.py", "from . import git\nfrom ..sandbox import bubblewrap"),
    (LAYER, "minion/runner/blocks.py", "from minion.clock import Clock"),
    (LAYER, "minion/daemon/supervisor.py", "from server.contract import digest, refusals"),
    (LAYER, "minion/check.py", "from server.contract.routine import Routine"),
    (LAYER, "minion/commands/run.py", "from minion import app, clock\nfrom minion.commands import runs"),
    (LIBRARY, "server/contract/routine.py", "import pydantic\nfrom server.contract import skill"),
    (LIBRARY, "server/contract/schedule.py", "from croniter import croniter\nimport zoneinfo"),
    (LIBRARY, "minion/store/local_db.py", "import aiosqlite\nimport sqlite3"),
    (ALONE, "minion/sandbox/tool_host.py", "import json, os\nfrom pathlib import Path"),
    (ENVIRONMENT, "minion/config.py", "import os\nhome = os.environ.get('HOME')"),
    (ENVIRONMENT, "minion/app.py", "def f(environ):\n    return environ['HOME']"),
    (CLOCK, "minion/clock.py", "from datetime import UTC, datetime\nnow = datetime.now(UTC)"),
    (CLOCK, "minion/app.py", "import time\nstart = time.monotonic()"),
    (CATCH_ALL, "minion/cli.py", "try:\n    f()\nexcept Exception:\n    pass"),
    (CATCH_ALL, "minion/store/writer.py", "try:\n    f()\nexcept BaseException:\n    g()\n    raise"),
    (CATCH_ALL, "minion/wire.py", "try:\n    f()\nexcept (OSError, ValueError):\n    pass"),
]


@pytest.mark.parametrize(("checker", "path", "text"), ALLOWED)
def test_what_the_house_allows_is_no_breach(checker: Checker, path: str, text: str) -> None:
    assert checker(Source(path, text)) == []


def test_a_script_may_import_what_lies_beside_it() -> None:
    script = Source("skills/a/scripts/run.py", "import json\nfrom tally import count\nimport yaml")
    assert len(layers.standard_library_breaches(script, frozenset({"run", "tally"}))) == 1


@pytest.mark.parametrize("path", ["minion/sandbox/tool_host.py", "skills/send-to-slack/scripts/run.py"])
def test_the_tool_host_and_the_scripts_of_skills_run_alone(path: str) -> None:
    assert layers.runs_alone(path)
