"""The files around the code agree with each other: metadata, locks, changelog, Makefile, README, CI."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from datetime import date
from typing import Any

import pytest
from packaging.version import Version

from tests.house.package_files import Lock, make_calls, make_targets, read_lock, released, script_calls, unmet
from tests.house.source_tree import ROOT

TARGETS = {"help", "setup", "run", "test", "check", "test-heavy", "faults", "bench", "install", "uninstall"}


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    metadata: dict[str, Any] = tomllib.loads(text_of("pyproject.toml"))["project"]
    return metadata


def test_the_newest_version_in_the_changelog_is_the_one_of_the_package() -> None:
    history = released(text_of("CHANGELOG.md"))
    versions = [Version(version) for version, _ in history]
    assert versions == sorted(versions, reverse=True)
    assert history[0][0] == project()["version"]
    assert all(date.fromisoformat(day) for _, day in history)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_holds_exact_versions_with_hashes_and_no_index(name: str) -> None:
    assert read_lock(text_of(name)).strangers == ()
    assert "://" not in text_of(name)
    assert "index-url" not in text_of(name)


def test_the_lock_covers_every_dependency() -> None:
    assert unmet(project()["dependencies"], read_lock(text_of("requirements.lock"))) == []


def test_the_developers_lock_covers_the_dev_extra_and_agrees_with_the_other() -> None:
    lock = read_lock(text_of("requirements-dev.lock"))
    wanted = [*project()["dependencies"], *project()["optional-dependencies"]["dev"]]
    assert unmet(wanted, lock) == []
    assert read_lock(text_of("requirements.lock")).versions.items() <= lock.versions.items()


@pytest.mark.parametrize("folder", ["conformance", "claude_code"])
def test_a_lock_of_what_npm_installs_holds_exact_versions_with_hashes_and_no_registry(folder: str) -> None:
    text = text_of(f"tests/{folder}/package-lock.json")
    locked = json.loads(text)["packages"]
    wanted = json.loads(text_of(f"tests/{folder}/package.json"))
    own = locked.pop("")
    for kind in {"dependencies", "optionalDependencies"} & wanted.keys():
        assert own[kind] == wanted[kind]
        assert all(re.search(r"(^|@)\d+\.\d+\.\d+(-[a-z.0-9]+)?$", each) for each in wanted[kind].values())
    bundled = [name for name, said in locked.items() if said.get("inBundle")]
    assert [name for name, said in locked.items() if "integrity" not in said and name not in bundled] == []
    assert '"resolved"' not in text


def test_the_makefile_has_the_targets_people_rely_on() -> None:
    assert make_targets(text_of("Makefile")) >= TARGETS


def test_make_help_names_every_target() -> None:
    # Under `make test` the outer make's own settings would reach this one.
    quiet = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    shown = subprocess.run(["make", "help"], cwd=ROOT, env=quiet, capture_output=True, text=True, check=True)
    assert set(shown.stdout.split()) >= TARGETS


@pytest.mark.parametrize("page", ["README.md", "AGENTS.md"])
def test_every_make_command_of_a_page_exists(page: str) -> None:
    assert set(make_calls(text_of(page))) <= make_targets(text_of("Makefile"))


def test_readme_starts_with_a_run_and_goes_on_with_the_tests() -> None:
    assert make_calls(text_of("README.md"))[:2] == ["run", "test"]


def test_ci_calls_only_what_readme_calls() -> None:
    targets, strangers = script_calls(text_of(".ci/run"))
    assert strangers == []
    assert {"test", "check"} <= set(targets) <= set(make_calls(text_of("README.md")))
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_both_programs_are_declared() -> None:
    assert project()["scripts"] == {"minion": "minion.cli:main", "hq": "server.cli:main"}


def test_the_licence_is_mit() -> None:
    assert project()["license"] == "MIT"
    assert text_of("LICENSE").startswith("MIT License\n")


HASH = "--hash=sha256:" + "0" * 64


@pytest.mark.parametrize(
    "line",
    [
        f"click>=8 {HASH}",
        f"click {HASH}",
        f"click==8.* {HASH}",
        "click==8.5.1",
        "--index" + "-url https://example.org/simple",
        f"click @ https://example.org/click.whl {HASH}",
        "-e .",
    ],
)
def test_a_planted_loose_line_in_a_lock_is_caught(line: str) -> None:
    assert read_lock(f"# made by hand\n{line}\n").strangers == (line,)


def test_a_lock_line_over_several_lines_is_read_whole() -> None:
    lock = read_lock(f"Foo.Bar==1.2 ; sys_platform == 'win32' \\\n    {HASH} \\\n    {HASH}\n    # via x\n")
    assert lock == Lock({"foo-bar": "1.2"}, ())


def test_a_dependency_that_is_missing_or_too_old_in_the_lock_is_caught() -> None:
    lock = Lock({"click": "8.1.0"}, ())
    found = unmet(["click>=8.2,<9", "croniter>=7"], lock)
    assert found == ["click>=8.2,<9: locked at 8.1.0", "croniter>=7: not locked"]


def test_make_commands_are_read_from_code_and_not_from_prose() -> None:
    page = "We make sure.\n`make check`, or `cd x && make -s bench A=1`\n```sh\n$ make run\nmake test # all\n```\n"
    assert make_calls(page) == ["run", "test", "check", "bench"]


def test_targets_are_read_from_rules_and_not_from_variables() -> None:
    text = "PY := python\nnow=1\n.PHONY: run\nrun test: setup\n\t$(PY) -m x:y\n.venv/ready: lock\ncheck:\n"
    assert make_targets(text) == {"run", "test", "check"}


@pytest.mark.parametrize("line", ["pytest -q", "make test && pip install x", "if ! python3 x; then", "wget x"])
def test_a_planted_command_of_its_own_in_ci_is_caught(line: str) -> None:
    assert script_calls(f"#!/bin/sh\nset -eu\n{line}\n")[1] != []


def test_ci_may_set_up_with_apt_and_call_make() -> None:
    script = (
        "#!/usr/bin/env bash\nset -euo pipefail\ncd \"$(dirname \"$0\")/..\"\n"
        "if ! command -v bwrap >/dev/null; then\n  sudo DEBIAN_FRONTEND=noninteractive apt-get install -y \\\n"
        "    bubblewrap || echo none\nfi\nmake check\nexec make test\n"
    )
    assert script_calls(script) == (["check", "test"], [])


def test_a_changelog_heading_without_a_date_is_no_release() -> None:
    assert released("## 0.2.0\n## 0.1.1 — 2026-12-01\ntext\n## 0.1.0 — 2026-11-21\n") == [
        ("0.1.1", "2026-12-01"),
        ("0.1.0", "2026-11-21"),
    ]
