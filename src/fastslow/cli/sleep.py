"""`fastslow sleep`: what keeps mattering moves into slow weights."""

from __future__ import annotations

from fastslow.cli import options, output, session

EXAMPLE = "Example: fastslow sleep"


def sleep(home: options.Home = None, core: options.CoreName = None, as_json: options.Json = False) -> None:
    """Consolidate episodes into slow weights. Ctrl-C stops at the next safe point; sleep again to go on."""
    chosen = session.settings(home=home, core=core)
    with session.open_learner(chosen) as learner, output.bars() as progress, output.stop_on_interrupt() as stop:
        report = learner.sleep(progress=output.phases(progress), stop=stop.is_set)
    if report.interrupted:
        message = f"sleep was stopped after {report.seconds:.0f} s; what was learned is kept: sleep again to go on"
        raise output.Failure(message, output.STOPPED, output.plain(report))
    if as_json:
        output.emit_json(report)
        return
    console = output.out()
    if report.rolled_back:
        what = "some of it was rolled back" if report.consolidated else "rolled back, the slow weights are as before"
        console.print(f"{what}: {report.rolled_back}", soft_wrap=True)
    moved = output.number(len(report.consolidated), "episode")
    console.print(f"{moved} moved into slow weights in {report.seconds:.0f} s", soft_wrap=True)
    if report.rejected:
        table = output.table("stays awake", "because")
        for episode, reason in report.rejected.items():
            table.add_row(episode, reason)
        console.print(table)
