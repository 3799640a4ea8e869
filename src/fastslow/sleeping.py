"""Sleep: what moves from the medium tier to the slow one, and how it is taught.

The reader is the teacher: it poses questions from an episode's page and answers them with the page in sight, and the
expert learns to answer the same without it. Each group of episodes becomes an expert of its own, with an event of its
own, so that a sleep that is cut off keeps what it has finished, and forgetting makes only one of them again.
"""

from __future__ import annotations

import time as wall
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastslow.errors import InputError, StoreError
from fastslow.medium.episodes import Episodes
from fastslow.medium.reader import POSE
from fastslow.reports import SleepReport
from fastslow.slow import (
    Expert,
    Ground,
    Hooks,
    Outcome,
    Study,
    consolidate,
    consolidate_domain,
    make_study,
    pose,
    survey,
)
from fastslow.slow.consolidate import LAYOUT as CONSOLIDATION
from fastslow.slow.consolidate import VERSION as CONSOLIDATION_VERSION
from fastslow.slow.training import LAYOUT as TRAINING
from fastslow.slow.training import VERSION as TRAINING_VERSION
from fastslow.slow.training import seed_of
from fastslow.state import State
from fastslow.store import Event, Home, snapshots
from fastslow.tiers import Progress, Tiers

UNFINISHED = {"facts": "sleeping-facts", "language": "sleeping-language"}
LAYOUTS = {"facts": (CONSOLIDATION, CONSOLIDATION_VERSION), "language": (TRAINING, TRAINING_VERSION)}
IN_VAIN = "sleeping-in-vain"  # the snapshot that remembers which consolidations came to nothing
LEFT_OUT = "an earlier sleep tried the same, and it would come to nothing again"


def sleep(
    home: Home,
    tiers: Tiers,
    clock: Callable[[], float],
    *,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> SleepReport:
    """Consolidate what there is to consolidate: facts into small experts, language into one of its own.

    Every group that is done is durable. Where ``stop`` says True, the next sleep goes on from there. What once came to
    nothing is left out: a consolidation is a pure function, so it would again.
    """
    begun, now = wall.monotonic(), clock()
    accepted: list[str] = []
    rolled_back: list[str] = []
    detail: dict[str, Any] = {"groups": 0, "facts": [], "language": []}
    key, vain = _key(tiers), _in_vain(home)
    due = [(kind, considered, key(kind, considered)) for kind, considered in _jobs(tiers, now)]
    jobs = [job for job in due if job[2] not in vain]
    rejected = {name: LEFT_OUT for _, considered, job in due if job in vain for name in considered}
    ground = Ground.make(tiers.core, tiers.config.facts) if any(job[0] == "facts" for job in jobs) else None
    interrupted = False
    for n, (kind, considered, job) in enumerate(jobs):
        shown = _outer(progress, kind, n, len(jobs))
        if stop is not None and stop():
            interrupted = True
            break
        outcome = _go_on(home, tiers, kind, considered, ground, Hooks(progress=shown, stop=stop))
        if outcome.report is None:
            interrupted = True
            break
        rejected |= outcome.report.rejected
        rolled_back += [outcome.report.rolled_back] if outcome.report.rolled_back else []
        accepted += outcome.report.accepted
        detail["groups"] += 1
        detail[kind].append(outcome.report.plain())
        if outcome.expert is not None:
            _keep(home, tiers, kind, considered, outcome.expert, now)
        else:
            vain[job] = 1
            _save_in_vain(home, vain)
        snapshots.delete(home.snapshots, UNFINISHED[kind])
    _fade(home, tiers, now)
    seconds = wall.monotonic() - begun
    return SleepReport(tuple(accepted), rejected, "; ".join(dict.fromkeys(rolled_back)), seconds, interrupted, detail)


def _in_vain(home: Home) -> dict[str, int]:
    """The keys of the consolidations that came to nothing. It only spares work, so forgetting lets it go."""
    try:
        found = snapshots.load(home.snapshots, IN_VAIN, "slow/in-vain", 1)
    except StoreError:
        found = None
    return dict(found[0].numbers) if found else {}


def _save_in_vain(home: Home, vain: dict[str, int]) -> None:
    snapshots.save(home.snapshots, IN_VAIN, State("slow/in-vain", 1, {}, vain), home.log.head())


def _key(tiers: Tiers) -> Callable[[str, Sequence[str]], str]:
    """What tells consolidations apart: their kind, their episodes, and all else that decides what they come to."""
    config, reader = tiers.config, tiers.reader.hash() if tiers.reader else ""
    made_by = {"facts": (config.facts, config.recall, reader), "language": (config.language,)}
    return lambda kind, considered: f"{seed_of(kind, config.seed, made_by[kind], *considered):014x}"


def _jobs(tiers: Tiers, now: float) -> list[tuple[str, list[str]]]:
    """What is consolidated, in order: facts in groups, the strongest first, then language."""
    facts, size = tiers.facts_to_sleep_on(now), tiers.config.facts.group
    jobs = [("facts", facts[i : i + size]) for i in range(0, len(facts), size)]
    language = tiers.language_to_sleep_on()
    return [*jobs, ("language", language)] if language else jobs


def _outer(progress: Progress | None, kind: str, n: int, count: int) -> Progress | None:
    """Progress of one group as that of the whole sleep."""
    if progress is None:
        return None
    if kind == "language":
        return progress
    return lambda stage, step, steps, loss: progress(f"{kind} {stage}", n, count, loss)


def _keep(home: Home, tiers: Tiers, kind: str, considered: Sequence[str], expert: Expert, now: float) -> None:
    """Snapshot first, event second: an event always finds its expert, and an expert without an event is swept away."""
    snapshots.save(home.snapshots, snapshot_name(expert.delta.name), expert.state(), home.log.head())
    tiers.apply(home.log.append("sleep", _payload(kind, considered, expert), time=now), expert=expert)


def snapshot_name(expert: str) -> str:
    return f"expert-{expert}"


def _fade(home: Home, tiers: Tiers, now: float) -> None:
    """Let every sleep, whatever it consolidated, compress or drop the pages of what has become weak."""
    before = _pages(tiers)
    tiers.apply(home.log.append("fade", {}, time=now))
    keep_pages(home, tiers, before)


def keep_pages(home: Home, tiers: Tiers, stored: Mapping[str, State]) -> None:
    """Make the ``stored`` pages what the tiers hold: those made or faded are written, those dropped are deleted."""
    held = _pages(tiers)
    changed: dict[str, bytes | None] = {n: p.to_bytes() for n, p in held.items() if stored.get(n) is not p}
    changed |= dict.fromkeys(set(stored) - set(held))
    if changed:
        home.log.put_records(changed)


def _pages(tiers: Tiers) -> dict[str, State]:
    return {name: record.page for name, record in tiers.episodes.records.items() if record.page is not None}


def _payload(kind: str, considered: Sequence[str], expert: Expert) -> dict[str, Any]:
    return {
        "kind": kind,
        "considered": list(considered),
        "accepted": list(expert.episodes),
        "expert": expert.delta.name,
    }


def _go_on(
    home: Home, tiers: Tiers, kind: str, considered: Sequence[str], ground: Ground | None, hooks: Hooks
) -> Outcome:
    """Consolidate, from where an interrupted sleep about the same episodes stopped."""
    name, (layout, version) = UNFINISHED[kind], LAYOUTS[kind]
    try:
        found = snapshots.load(home.snapshots, name, layout, version)
    except StoreError:
        found = None  # damaged: start afresh

    def save(state: State) -> None:
        snapshots.save(home.snapshots, name, state, home.log.head())

    hooks = replace(hooks, save=save)
    try:
        resume = found[0] if found else None
        outcome = consolidate_kind(tiers, kind, considered, ground=ground, resume=resume, hooks=hooks)
    except InputError:
        if found is None:
            raise
        outcome = consolidate_kind(tiers, kind, considered, ground=ground, hooks=hooks)  # it was about other episodes
    if outcome.state is not None:
        save(outcome.state)
    return outcome


def consolidate_kind(
    tiers: Tiers,
    kind: str,
    considered: Sequence[str],
    *,
    ground: Ground | None = None,
    resume: State | None = None,
    hooks: Hooks | None = None,
) -> Outcome:
    """One expert from the episodes considered: a pure function of the core, the reader, their texts and order."""
    core, config = tiers.core, tiers.config
    if kind == "language":
        episodes = [(name, tiers.told[name].written) for name in considered]
        return consolidate_domain(core, episodes, config.language, seed=config.seed, resume=resume, hooks=hooks)
    studies = [study(tiers, name) for name in considered]
    matched = _router(tiers, considered)
    return consolidate(
        core, studies, config=config.facts, seed=config.seed, matched=matched, resume=resume, hooks=hooks, ground=ground
    )


def _router(tiers: Tiers, considered: Sequence[str]) -> Callable[[str], Collection[str]]:
    """What a text matches of the episodes considered, as if there were no others: so no other one decides a sleep."""
    group = Episodes(tiers.core, tiers.reader.router if tiers.reader else None, tiers.config.recall)
    for n, name in enumerate(considered):
        group.add(name, group.write(tiers.told[name].written), n, 0.0)
    return lambda text: [hit.episode for hit in group.select(group.question(text))]


def study(tiers: Tiers, episode: str) -> Study:
    """What an episode is studied with. Without a trained reader only rules make questions."""
    text = tiers.told[episode].written
    if tiers.reader is None:
        return make_study(episode, text)
    # From the text, not from the stored page: that fades, and a sleep made again must see what the first one saw.
    page = tiers.episodes.states(tiers.episodes.write(text))
    taught_by = (tiers.core, text, [page], [tiers.reader.adapter([page])])
    return make_study(episode, text, pose(*taught_by, POSE), survey(*taught_by))


def make_again(home: Home, tiers: Tiers, event: Event) -> Expert | None:
    """The expert of a sleep whose snapshot is lost. None where it comes to nothing now, as with another reader it may;
    that is remembered, so that it is not tried at every opening."""
    if came_to_nothing(home, tiers, event):
        return None
    kind, considered = event.payload["kind"], event.payload["considered"]
    expert = consolidate_kind(tiers, kind, considered).expert
    if expert is not None:
        snapshots.save(home.snapshots, snapshot_name(event.payload["expert"]), expert.state(), event.hash)
    else:
        _save_in_vain(home, _in_vain(home) | {_key(tiers)(kind, considered): 1})
    return expert


def came_to_nothing(home: Home, tiers: Tiers, event: Event) -> bool:
    """Whether a sleep was made again in vain."""
    return _key(tiers)(event.payload["kind"], event.payload["considered"]) in _in_vain(home)


def redo(
    home: Home, tiers: Tiers, event: Event, gone: set[str], expert: Expert | None
) -> tuple[dict[str, Any] | None, Expert | None]:
    """The payload and the expert of a sleep in a history without ``gone``: as they were where it considered none of
    them, made again from the rest where it did, None where nothing is left."""
    considered = [name for name in event.payload["considered"] if name not in gone]
    if considered == event.payload["considered"]:
        return event.payload, expert
    size = sum(tiers.episodes.records[name].tokens for name in considered)
    enough = considered and (event.payload["kind"] == "facts" or size >= tiers.config.domain)
    made = consolidate_kind(tiers, event.payload["kind"], considered).expert if enough else None
    if made is None:
        return None, None
    snapshots.save(home.snapshots, snapshot_name(made.delta.name), made.state(), home.log.head())
    return _payload(event.payload["kind"], considered, made), made
