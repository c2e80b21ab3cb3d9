"""Each promise to the people who use the product, on one line, with the id that the tests showing it carry."""

from __future__ import annotations

# RUN: how a run goes and what is said of it · ENV: the safety envelope · STO: what is kept
# CLI: the command line · DOC: routines, skills and schedules as documents · SKL: the bundled skills
PROMISES: dict[str, str] = {
    "RUN-1": "A skill that exits with anything but 0 fails the run; it is never reported completed.",
    "RUN-2": "Two runs at once never mix names, inputs, scripts, outputs or logs.",
    "RUN-3": "An exit code that cannot be read never counts as a success.",
    "RUN-4": "Rigid blocks run in their fixed order, one canonical step each; else the run is `violated`.",
    "RUN-5": "A failed or skipped skill skips the later ones; the execution report is filed all the same.",
    "RUN-6": "The execution report is accepted once; without a valid one the outcome is `unknown`.",
    "RUN-7": "A prompt-only routine without a model ends `partial`, `skipped: needs a model`, with a gap.",
    "RUN-8": "A run killed at any point ends `interrupted`, keeps its steps and intents, leaves no process.",
    "RUN-9": "A timeout or cancel stops everything the run started; a report of what is known is filed.",
    "RUN-10": "The fingerprint is the seed's hash over the steps taken: `T:36a61784` for a plain prompt.",
    "RUN-11": "`ok` needs a check by the runner or a proven delivery; a mere claim stays `unchecked`.",
    "ENV-1": "A hostile repository (hooks, filters, nested .git, minion/ package, symlinks) runs nothing.",
    "ENV-2": "A secret never shows in argv, a skill's environment, log, event, error, report or store.",
    "ENV-3": "A local repository is cloned and never changed in place.",
    "ENV-4": "A skill only stages effects; the runner performs the allowed ones, their intent kept first.",
    "ENV-5": "An effect cut off between intent and result is `unknown` and never repeated blindly.",
    "ENV-6": "Without a usable sandbox only unchanged bundled skills run, and the run says `unsandboxed`.",
    "ENV-7": "A run's folder is private, and its output is capped with a note that says so.",
    "STO-1": "The newest 200 runs are kept, older ones go with their files, an unfinished one never goes.",
    "STO-2": "A store that cannot be read is kept and refused with a hint, never replaced by an empty one.",
    "STO-3": "A step log that was altered, shortened or reordered is found out by its hash chain.",
    "STO-4": "One process at a time writes a home; the next is told the holder's name and loses nothing.",
    "CLI-1": "`minion run` gives the run's id; `show` finds the run by id, by prefix and by NAME@last.",
    "CLI-2": "The summary of a run is what its report says, never raw terminal output.",
    "CLI-3": "Exit codes tell: 0 ok or unchecked, 1 failed, 2 bad use, 3 refused, 4 partial or unknown.",
    "CLI-4": "Every listing has `--json`: one document on stdout, everything else on stderr.",
    "DOC-1": "The seed's JSON routine runs as printed, with the minion's own id in place of `<uuid>`.",
    "DOC-2": "A document that says something wrong is refused, field named, with a hint; nothing is lost.",
    "DOC-3": "A schedule that is malformed or can never fire is refused when it is saved.",
    "DOC-4": "A fixed-time job fires once per local day though clocks shift; intervals follow elapsed time.",
    "SKL-1": "The bundled skills pass the Agent Skills validator and work without a model.",
    "SKL-2": "`write-daily-report` counts what git says, by author and area, since the last delivery.",
    "SKL-3": "`send-to-slack` says where the report went, Slack or an outbox file; a non-2xx is `failed`.",
}
