"""The rules of DESIGN §4 as tables: who imports whom, who touches clock and environment."""

from __future__ import annotations

CONTRACT = "server.contract"
# The type of a clock may be named anywhere; the function that reads one only by a composition root.
CLOCK_TYPE = "minion.clock.Clock"
# What a minion may know of the contract: modules that load in milliseconds. The others need pydantic.
PURE = frozenset(
    {"schedule", "catch_up", "cron", "phrases", "layout", "run", "topology", "quota", "refusals", "digest"}
    | {"redaction", "processes"}
)
PURE_THIRD_PARTY = frozenset({"croniter"})

_SERVER_ROOMS = ("server.domain", "server.storage", "server.queue", "server.actions")
_MINION_ROOMS = (
    "minion.sandbox",
    "minion.store",
    "minion.engines",
    "minion.runner",
    "minion.daemon",
    "minion.wire",
    "minion.clock",
    "minion.terminal",
    "minion.config",
    "minion.secrets_file",
    "minion.routines",
    "minion.skills",
    "minion.admission",
    "minion.repositories",
    "minion.setup.installation",
    "minion.setup.home_removal",
    "minion.setup.backups",
    "minion.setup.upgrade",
    "minion.setup.rollback",
    "minion.setup.service",
    "minion.setup.init_system",
    "minion.check",
    "minion.doctor",
    "minion.socket_place",
    "minion.daemon_client",
    "minion.asking",
    "minion.release",
    "minion.standing",
    "minion.why",
)
_SETTING_UP = ("minion.setup.first_routine", "minion.setup.answers", "minion.setup.trials")
_RUNNER = ("minion.runner", "minion.engines", "minion.sandbox", CONTRACT, "minion.wire", CLOCK_TYPE)

# The longest entry that holds a module says what it may import of the house. A module without an entry has
# no room: it is refused until it gets one here.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    CONTRACT: (CONTRACT,),
    "server.domain": (CONTRACT, "server.domain"),
    "server.storage": (CONTRACT, "server.domain", "server.storage"),
    # Its table is one of the store, so that an order is put in the transaction of what asks for it.
    "server.queue": (
        CONTRACT,
        "server.domain",
        "server.queue",
        "server.storage.tables",
        "server.storage.database.Connection",
    ),
    "server.actions": (CONTRACT, *_SERVER_ROOMS, "server.clock.Clock"),
    "server.tools": (CONTRACT, *_SERVER_ROOMS, "server.tools"),
    "server.web": (CONTRACT, *_SERVER_ROOMS, "server.web"),
    "server.catalogue": (CONTRACT, "server.domain", "server.catalogue"),
    "server.config": (CONTRACT,),
    "server.clock": (),
    "server.app": (
        CONTRACT,
        *_SERVER_ROOMS,
        "server.tools",
        "server.web",
        "server.catalogue",
        "server.config",
        "server.clock",
    ),
    "server.log": (CONTRACT, "server.storage.committed"),
    "server.sweeping": (CONTRACT, "server.actions"),
    "server.serving": ("server",),
    "server.asking": ("server",),
    "server.at_hand": ("server",),
    "server.relaying": (CONTRACT, "server.at_hand", "server.config"),
    "server.commands": ("server",),
    "server.cli": ("server",),
    "minion.wire": (CONTRACT,),
    "minion.clock": (),
    "minion.terminal": (),
    "minion.process_table": (),
    "minion.config": (CONTRACT, "minion.process_table"),
    "minion.secrets_file": (CONTRACT, "minion.config"),
    # A package's face hands nothing on; each module of it has an entry of its own.
    "minion.routines": (),
    "minion.skills": (),
    "minion.setup": (),
    "minion.routines.template_list": (CONTRACT,),
    "minion.repositories": (CONTRACT,),
    "minion.setup.installation": (
        CONTRACT,
        "minion.config",
        "minion.skills.loader",
        "minion.routines.template_list",
    ),
    "minion.setup.home_removal": (CONTRACT, "minion.config"),
    "minion.setup.service": (CONTRACT, "minion.config", "minion.setup.installation"),
    "minion.setup.init_system": (CONTRACT, "minion.config", "minion.setup.service"),
    "minion.setup.backups": (CONTRACT, "minion.config", "minion.release", "minion.store"),
    "minion.setup.upgrade": (
        CONTRACT,
        "minion.config",
        "minion.admission",
        "minion.daemon.plan",
        "minion.daemon.timetable",
        "minion.routines.files",
        "minion.setup.backups",
        "minion.store",
    ),
    "minion.setup.rollback": (CONTRACT, "minion.config", "minion.setup.backups", "minion.store"),
    "minion.admission": (CONTRACT, "minion.store"),
    "minion.routines.files": (CONTRACT, "minion.config", "minion.store"),
    "minion.routines.process_file": (CONTRACT,),
    "minion.routines.added": ("minion.store",),
    "minion.routines.telling": ("minion.config",),
    "minion.routines.keeping": (
        CONTRACT,
        "minion.config",
        "minion.admission",
        "minion.engines",
        "minion.repositories",
        "minion.routines",
        "minion.skills.loader",
        "minion.store",
        CLOCK_TYPE,
    ),
    "minion.routines.matching": (),
    "minion.routines.portable": (CONTRACT, "minion.admission"),
    "minion.routines.phrased": (
        CONTRACT,
        "minion.admission",
        "minion.config",
        "minion.routines.matching",
        "minion.repositories",
        "minion.routines.files",
        "minion.secrets_file",
        "minion.skills.inventory",
        "minion.skills.loader",
        "minion.routines.template_list",
    ),
    "minion.skills.zip_reader": (),
    "minion.skills.archive": (CONTRACT, "minion.skills.zip_reader"),
    "minion.skills.skeleton": (),
    "minion.skills.loader": (CONTRACT, "minion.config", "minion.admission", "minion.skills.archive"),
    "minion.skills.install": (
        CONTRACT,
        "minion.config",
        "minion.admission",
        "minion.skills.archive",
        "minion.skills.loader",
    ),
    "minion.skills.inventory": (
        CONTRACT,
        "minion.config",
        "minion.admission",
        "minion.routines.files",
        "minion.skills.loader",
        "minion.store",
    ),
    "minion.check": (CONTRACT,),
    "minion.sandbox": (CONTRACT, "minion.sandbox"),
    "minion.store": (CONTRACT, "minion.wire", "minion.store", CLOCK_TYPE),
    "minion.engines": (CONTRACT, "minion.wire", "minion.sandbox", "minion.engines"),
    "minion.runner": _RUNNER,
    # The start of the runner's process is a composition root: it hands clock and secrets to the rest.
    "minion.runner.__main__": (*_RUNNER, "minion.clock", "minion.secrets_file"),
    # A child that only looks: a process of its own, as a runner is.
    "minion.runner.reading_back": (*_RUNNER, "minion.secrets_file"),
    "minion.daemon": (
        CONTRACT,
        "minion.wire",
        "minion.config",
        "minion.process_table",
        "minion.routines.files",
        "minion.skills.loader",
        "minion.store",
        "minion.daemon",
        CLOCK_TYPE,
    ),
    "minion.doctor": (
        CONTRACT,
        "minion.config",
        "minion.daemon_client",
        "minion.routines.files",
        "minion.routines.telling",
        "minion.wire",
        "minion.admission",
        "minion.skills.loader",
        "minion.secrets_file",
        "minion.sandbox",
        "minion.engines",
        "minion.runner",
        "minion.store",
        "minion.daemon.census",
        "minion.daemon.cgroups",
        "minion.setup.installation",
        "minion.setup.service",
        "minion.setup.init_system",
        "minion.doctor",
        CLOCK_TYPE,
    ),
    # A child that examines things from other variables: it hands the clock to the examination.
    "minion.doctor.__main__": ("minion.clock", "minion.config", "minion.doctor"),
    "minion.app": (CONTRACT, *_MINION_ROOMS),
    "minion.release": (),
    "minion.standing": (CONTRACT, "minion.store", "minion.daemon.timetable"),
    "minion.why": (
        CONTRACT,
        "minion.store",
        "minion.engines.registry",
        "minion.daemon.timetable",
        "minion.daemon.judgement",
        "minion.standing",
        "minion.why",
    ),
    "minion.socket_place": (CONTRACT, "minion.config"),
    "minion.daemon_client": (CONTRACT, "minion.config", "minion.socket_place"),
    "minion.verbs": (CONTRACT, *_MINION_ROOMS, "minion.app"),
    # What owns a home is put together where it is asked for: by a command, or by the daemon.
    "minion.asking": (CONTRACT, *_MINION_ROOMS, "minion.app", "minion.verbs"),
    "minion.always_on": (
        CONTRACT,
        *_MINION_ROOMS,
        "minion.app",
        "minion.verbs",
        "minion.on_watch",
        "minion.due_runs",
    ),
    "minion.due_runs": (CONTRACT, *_MINION_ROOMS, "minion.app"),
    "minion.on_watch": (CONTRACT, *_MINION_ROOMS, "minion.app"),
    # A child that opens the secrets; what it posts, it posts as a runner does.
    "minion.messenger": (CONTRACT, "minion.runner.outbound", "minion.runner.webhook", "minion.secrets_file"),
    "minion.setup.first_routine": (CONTRACT, "minion.config", "minion.daemon_client", "minion.app"),
    "minion.setup.answers": (
        CONTRACT,
        "minion.config",
        "minion.engines",
        "minion.store",
        "minion.repositories",
        "minion.secrets_file",
        "minion.setup.first_routine",
        "minion.asking",
        "minion.app",
        CLOCK_TYPE,
    ),
    "minion.setup.trials": (
        CONTRACT,
        "minion.config",
        "minion.admission",
        "minion.repositories",
        "minion.runner",
    ),
    "minion.commands": (CONTRACT, *_MINION_ROOMS, *_SETTING_UP, "minion.app", "minion.commands"),
    "minion.cli": (CONTRACT, "minion"),
}

# Libraries that only these modules may import: a database has one room, a command line is a door, and a
# process that must stay small loads no document models.
AT_HOME: dict[str, tuple[str, ...]] = {
    "click": ("server.cli", "server.commands", "minion.cli", "minion.commands"),
    "sqlite3": ("server.storage", "server.queue", "minion.store"),
    "aiosqlite": ("minion.store",),
    "sqlalchemy": ("server",),
    "pydantic": ("server", "minion.check", "minion.admission"),
    "pydantic_core": ("server", "minion.check", "minion.admission"),
    "yaml": ("server", "minion.check", "minion.admission"),
    "mcp": ("server",),
    "anthropic": ("minion.engines",),
    "textual": ("minion.tui",),
}
READS_DOCUMENTS = ("minion.check", "minion.admission")

READS_ENVIRONMENT = frozenset(
    {"server/config.py", "minion/config.py", "minion/terminal.py", "minion/sandbox/tool_host.py"}
)
READS_CLOCK = frozenset({"server/clock.py", "minion/clock.py"})
CATCHES_ALL = frozenset(
    {
        "minion/always_on.py",
        "minion/due_runs.py",
        "minion/on_watch.py",
        "minion/daemon/local_api.py",
        "minion/cli.py",
        "server/cli.py",
        "server/storage/writing.py",
    }
)
