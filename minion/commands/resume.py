"""`minion resume`: goes on with a run that was interrupted, and prints what came of it."""

from __future__ import annotations

import click

from minion.commands.completion import complete_interrupted
from minion.commands.context import home_of
from minion.commands.running import performed, tell_end
from minion.config import load_config


@click.command("resume")
@click.argument("run", metavar="RUN", shell_complete=complete_interrupted)
@click.option("--anyway", is_flag=True, help="Also a run that was interrupted over 24 hours ago.")
@click.option("--detach", is_flag=True, help="Print the run's id at once; the daemon performs it.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole run as one JSON document.")
@click.pass_context
def command(ctx: click.Context, run: str, anyway: bool, detach: bool, as_json: bool) -> int:
    """Go on with an interrupted run where it was, and wait for its end.

    RUN is an id, the beginning of one, a routine's name (its newest run), NAME@last, or last. Skills that were
    finished are not done again and no effect is repeated; the one that was cut off goes on in the conversation
    that was kept, or begins anew where there is no model. The routine need not say `resume: true`, may be paused,
    and may have changed: the run goes on with what it began with. It has the turns, tokens and dollars that it
    left, and of its time what it left, a tenth of the whole at least.

    By itself a run goes on only where its routine says `resume: true`: at once when its process died, and 5, 15
    and 45 minutes after the API could not be used, three times at most, by a daemon. To let a paused routine fire
    again is `minion schedule resume`. Ctrl-C stops the run in good order, and then it is over.

    Exit codes follow the verdict, as those of `minion run` do; 2 bad use and 3 refused: nothing was done.

    \b
    Examples:
      minion resume run_01A2B3C4
      minion resume morning-report@last
      minion resume last --anyway --json
    """
    home = home_of(ctx)
    load_config(home)
    params = {"run": run, "anyway": anyway, "detach": detach}
    run_id = performed(home, "run.resume", params, command=f"minion resume {run}")
    return tell_end(ctx, run_id, detach=detach, as_json=as_json)
