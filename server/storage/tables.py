"""HQ's tables: what each holds, and which of them nothing may be changed or removed in.

Times are instants as text (`contract/digest.py`), JSON is canonical text, ids are those of the contract.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, Table, Text, UniqueConstraint

METADATA: Final = MetaData()

META: Final = Table("meta", METADATA, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

TOKENS: Final = Table(
    "tokens",
    METADATA,
    # Ids are random and several are made in one millisecond: this alone says which is older.
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False),
    # What it alone is good for: a routine of a `fire` token, a minion of a `minion` one.
    Column("bound_to", Text),
    Column("prefix", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),
    Column("created_at", Text, nullable=False),
    Column("expires_at", Text),
    Column("revoked_at", Text),
)

# Answers of calls that carried a client key: the same call again gets the same answer.
CALLS: Final = Table(
    "calls",
    METADATA,
    Column("caller", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("tool", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("at", Text, nullable=False),
)

MINIONS: Final = Table(
    "minions",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("roles", Text, nullable=False),
    Column("said", Text, nullable=False),
    Column("joined_at", Text, nullable=False),
    Column("seen_at", Text),
    # How it stood then: what runs, what is due next.
    Column("live", Text, nullable=False, server_default="{}"),
    # How far its beat says that it goes by HQ's definitions, and how far it was ever told of them (`epoch:seq`).
    Column("acked", Text),
    Column("told", Text),
    Column("left_at", Text),
    # Of one that people were told of: since when HQ had not heard of it then.
    Column("silent_since", Text),
)
# Who has left may have its name taken by another.
Index("minions_by_name", MINIONS.c.name, unique=True, sqlite_where=MINIONS.c.left_at.is_(None))

ROUTINES: Final = Table(
    "routines",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("minion_id", Text),
    Column("document", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("changed_at", Text, nullable=False),
    Column("removed_at", Text),
    # The definitions' number with its newest change, and with that which gave it to its minion.
    Column("changed_seq", Integer, nullable=False, server_default="0"),
    Column("given_seq", Integer, nullable=False, server_default="0"),
    # Of its document, so that HQ finds those that it starts itself.
    Column("scheduled_by", Text, nullable=False, server_default="minion"),
    # Up to when others saw to its slots: later ones are of who starts it now.
    Column("handled_until", Text),
    # The minion that must let go of it first, which it has once it goes by the definitions of that number.
    Column("released_by", Text),
    Column("released_seq", Integer),
)
Index("routines_by_name", ROUTINES.c.name)
Index("routines_of_hq", ROUTINES.c.id, sqlite_where=ROUTINES.c.scheduled_by == "hq")
Index("routines_moving", ROUTINES.c.released_by, sqlite_where=ROUTINES.c.released_by.is_not(None))

# How far HQ saw to the slots of each trigger of the routines that it starts itself.
SCHEDULES: Final = Table(
    "schedules",
    METADATA,
    Column("routine_id", Text, primary_key=True),
    Column("trigger", Text, primary_key=True),
    Column("handled_until", Text, nullable=False),
)

ROUTINE_HISTORY: Final = Table(
    "routine_history",
    METADATA,
    Column("routine_id", Text, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("document", Text),
    Column("digest", Text),
    Column("by", Text, nullable=False),
    Column("at", Text, nullable=False),
)

SKILLS: Final = Table(
    "skills",
    METADATA,
    Column("digest", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("description", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("archive", LargeBinary, nullable=False),
    Column("published_by", Text, nullable=False),
    Column("published_at", Text, nullable=False),
    UniqueConstraint("name", "version"),
)

RUNS: Final = Table(
    "runs",
    METADATA,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("order_key", Text, nullable=False, unique=True),
    Column("routine_id", Text, nullable=False),
    Column("routine", Text, nullable=False),
    Column("minion_id", Text),
    Column("trigger", Text, nullable=False),
    Column("process", Text, nullable=False),
    Column("variant", Text, nullable=False),
    # Whose word its steps are: `attested` by the session itself, `observed` by a minion's runner.
    Column("source", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("external_session", Text),
    Column("state", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("delivery", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("summary", Text),
    Column("details", Text),
    Column("branch", Text),
    Column("why", Text),
    Column("canonical", Text, nullable=False),
    Column("canonical_fingerprint", Text, nullable=False),
    # The canonical sequences of its process's variants as it began, and how far from them is new.
    Column("known", Text, nullable=False),
    Column("novelty", Float),
    Column("topology", Text, nullable=False),
    Column("fingerprint", Text),
    Column("claimed_topology", Text),
    Column("conformance", Text),
    Column("drift", Text),
    Column("first_difference", Text),
    Column("created_at", Text, nullable=False),
    Column("started_at", Text),
    Column("ended_at", Text),
    Column("deadline_at", Text),
    # The run's chain: its newest hash and how many entries it has.
    Column("head", Text, nullable=False),
    Column("entries", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    # The newest revision that its minion reported.
    Column("reported", Integer),
)
Index("runs_by_routine", RUNS.c.routine_id, RUNS.c.position)
Index("runs_by_state", RUNS.c.state, RUNS.c.position)
Index("runs_by_deadline", RUNS.c.deadline_at, sqlite_where=RUNS.c.deadline_at.is_not(None))

BLOCK_RUNS: Final = Table(
    "block_runs",
    METADATA,
    Column("run_id", Text, primary_key=True),
    Column("code", Text, primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("why", Text),
    Column("started_at", Text),
    Column("ended_at", Text),
)

STEP_LOG: Final = Table(
    "step_log",
    METADATA,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("run_id", Text, nullable=False),
    Column("entry", Integer, nullable=False),
    Column("block", Text),
    Column("code", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("why", Text),
    Column("agent", Text, nullable=False),
    Column("attested", Boolean, nullable=False),
    Column("started_at", Text),
    Column("ended_at", Text, nullable=False),
    Column("cost", Text, nullable=False),
    Column("digest_in", Text),
    Column("digest_out", Text),
    Column("hash", Text, nullable=False),
    UniqueConstraint("run_id", "entry"),
)

EVENTS: Final = Table(
    "events",
    METADATA,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("run_id", Text),
    # The event's place in its run's chain, and the run's hash with it; none for an event of no run.
    Column("entry", Integer),
    Column("run_hash", Text),
    Column("type", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("hash", Text, nullable=False),
)
Index("events_by_run", EVENTS.c.run_id, EVENTS.c.entry)

GAPS: Final = Table(
    "gaps",
    METADATA,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("gap_type", Text, nullable=False),
    Column("requested_code", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("priority", Text, nullable=False),
    Column("frequency", Integer, nullable=False),
    Column("first_at", Text, nullable=False),
    Column("last_at", Text, nullable=False),
    Column("resolution", Text),
    Column("decision_id", Text),
    # Why what was proposed last was sent back, until something else is proposed.
    Column("sent_back", Text),
)
# One open gap for what is lacked: who lacks the same again adds to it.
Index(
    "gaps_open", GAPS.c.gap_type, GAPS.c.requested_code, unique=True,
    sqlite_where=GAPS.c.state.in_(("open", "researching", "proposed", "approved")),
)  # fmt: skip

GAP_EVIDENCE: Final = Table(
    "gap_evidence",
    METADATA,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("gap_id", Text, nullable=False),
    Column("run_id", Text),
    Column("agent", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("samples", Text, nullable=False),
    Column("at", Text, nullable=False),
)
Index("gap_evidence_by_gap", GAP_EVIDENCE.c.gap_id, GAP_EVIDENCE.c.position)

DECISIONS: Final = Table(
    "decisions",
    METADATA,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("question", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    # Of what was proposed: an answer to something else is none.
    Column("digest", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("asked_by", Text, nullable=False),
    Column("asked_at", Text, nullable=False),
    Column("expires_at", Text),
    Column("answer", Text),
    Column("answered_by", Text),
    # What they are called: by the id of a token, or of the owner, nobody knows a person again.
    Column("answered_name", Text),
    Column("answered_at", Text),
    Column("why", Text),
    # Of a hold: on which minion it waits, and how far an answer given here came there, and why not further.
    Column("minion_id", Text),
    Column("carried", Text),
    Column("carried_why", Text),
)
Index("decisions_open", DECISIONS.c.state, DECISIONS.c.position)
Index(
    "decisions_held", DECISIONS.c.minion_id, DECISIONS.c.position, sqlite_where=DECISIONS.c.minion_id.is_not(None)
)

# Work for minions; the queue's own table (`server/queue/embedded.py`).
ORDERS: Final = Table(
    "orders",
    METADATA,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("key", Text, nullable=False, unique=True),
    Column("minion_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("routine_id", Text, nullable=False),
    Column("run_id", Text),
    Column("body", Text, nullable=False),
    # Of a slot that HQ's own schedule asks for: which trigger it is of.
    Column("trigger", Text),
    Column("state", Text, nullable=False),
    Column("queued_at", Text, nullable=False),
    # When its minion was first told of it: from then on it may have begun.
    Column("claimed_at", Text),
    Column("lease_until", Text),
    Column("ended_at", Text),
)
Index("orders_waiting", ORDERS.c.minion_id, ORDERS.c.state, ORDERS.c.position)

# What people are told of minions, once for each way in which they are.
NOTICES: Final = Table(
    "notices",
    METADATA,
    Column("position", Integer, primary_key=True, autoincrement=True),
    # What it is about, such as `silent:MINION:INSTANT`.
    Column("key", Text, nullable=False),
    Column("way", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("made_at", Text, nullable=False),
    Column("next_at", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("problem", Text),
    Column("ended_at", Text),
    UniqueConstraint("key", "way"),
)
Index("notices_waiting", NOTICES.c.state, NOTICES.c.position)

# Nothing in these is ever changed or removed; triggers of the store refuse it.
APPEND_ONLY: Final = (STEP_LOG, EVENTS)
