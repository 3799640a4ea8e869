"""Sleep: what moves from the medium tier to the slow one, and how it is taught.

The reader is the teacher: it poses questions from an episode's page and answers them with the page in sight, and the
expert learns to answer the same without it.
"""

from __future__ import annotations

import time as wall
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from fastslow.decode import Row, generate
from fastslow.errors import InputError, StoreError
from fastslow.medium.reader import POSE
from fastslow.reports import SleepReport
from fastslow.slow import Exchange, Expert, Hooks, Outcome, Study, consolidate, consolidate_domain, make_study
from fastslow.slow.training import seed_of
from fastslow.state import State
from fastslow.store import Event, Home, snapshots
from fastslow.tiers import Progress, Tiers

UNFINISHED = {"facts": "sleeping-facts", "language": "sleeping-language"}
LAYOUTS = {"facts": ("slow/consolidation", 1), "language": ("slow/training", 1)}


def sleep(
    home: Home,
    tiers: Tiers,
    clock: Callable[[], float],
    *,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> SleepReport:
    """Consolidate what there is to consolidate: facts into one new expert, language into another."""
    begun, now = wall.monotonic(), clock()
    accepted: list[str] = []
    rejected: dict[str, str] = {}
    detail: dict[str, Any] = {}
    rolled_back = ""
    for kind in UNFINISHED:
        considered = tiers.facts_to_sleep_on(now) if kind == "facts" else tiers.language_to_sleep_on()
        if not considered:
            continue
        outcome = _go_on(home, tiers, kind, considered, Hooks(progress=progress, stop=stop))
        if outcome.report is None:
            return SleepReport(tuple(accepted), rejected, "", wall.monotonic() - begun, True, detail)
        detail[kind] = outcome.report.plain()
        rejected |= outcome.report.rejected
        rolled_back = rolled_back or outcome.report.rolled_back
        accepted += outcome.report.accepted
        if outcome.expert is not None:
            _keep(home, tiers, kind, considered, outcome.expert, now)
        snapshots.delete(home.snapshots, UNFINISHED[kind])
    return SleepReport(tuple(accepted), rejected, rolled_back, wall.monotonic() - begun, False, detail)


def _keep(home: Home, tiers: Tiers, kind: str, considered: Sequence[str], expert: Expert, now: float) -> None:
    """Snapshot first, event second: an event always finds its expert, and an expert without an event is swept away."""
    name = expert.delta.name
    snapshots.save(home.snapshots, f"expert-{name}", expert.state(), home.log.head())
    event = home.log.append("sleep", _payload(kind, considered, expert), time=now)
    before = {n: r.page for n, r in tiers.episodes.records.items()}
    tiers.apply(event, expert=expert)
    after = {n: r.page for n, r in tiers.episodes.records.items()}
    faded = {n: p.to_bytes() for n, p in after.items() if p is not None and p is not before[n]}
    if faded:
        home.log.put_records(faded)
    for n, page in after.items():
        if page is None and before[n] is not None:
            home.log.delete_record(n)


def _payload(kind: str, considered: Sequence[str], expert: Expert) -> dict[str, Any]:
    return {
        "kind": kind,
        "considered": list(considered),
        "accepted": list(expert.episodes),
        "expert": expert.delta.name,
    }


def _go_on(home: Home, tiers: Tiers, kind: str, considered: Sequence[str], hooks: Hooks) -> Outcome:
    """Consolidate, from where an interrupted sleep about the same episodes stopped."""
    name, (layout, version) = UNFINISHED[kind], LAYOUTS[kind]
    try:
        found = snapshots.load(home.snapshots, name, layout, version)
    except StoreError:
        found = None  # damaged: start afresh

    def save(state: State) -> None:
        snapshots.save(home.snapshots, name, state, home.log.head())

    hooks = replace(hooks, save=save)
    if found is not None:
        try:
            outcome = consolidate_kind(tiers, kind, considered, resume=found[0], hooks=hooks)
        except InputError:
            outcome = consolidate_kind(tiers, kind, considered, hooks=hooks)  # it was about other episodes
    else:
        outcome = consolidate_kind(tiers, kind, considered, hooks=hooks)
    if outcome.state is not None:
        save(outcome.state)
    return outcome


def consolidate_kind(
    tiers: Tiers, kind: str, considered: Sequence[str], *, resume: State | None = None, hooks: Hooks | None = None
) -> Outcome:
    """One expert from the episodes considered; a pure function of the tiers and their order."""
    config = tiers.config
    if kind == "language":
        episodes = [(name, tiers.told[name].written) for name in considered]
        return consolidate_domain(tiers.core, episodes, config.language, seed=config.seed, resume=resume, hooks=hooks)

    def matched(text: str) -> list[str]:
        return [hit.episode for hit in tiers.match(text) if hit.episode in considered]

    return consolidate(
        tiers.core, studies(tiers, considered), (), config.facts, seed=config.seed, matched=matched, resume=resume,
        hooks=hooks,
    )  # fmt: skip


def redo(
    home: Home, tiers: Tiers, event: Event, experts: Mapping[str, Expert]
) -> tuple[dict[str, Any] | None, Expert | None]:
    """The payload and the expert of a sleep in a history from which something was taken: as they were where nothing
    of it was considered, made again where something was. None where there is nothing left to consolidate."""
    kind = event.payload["kind"]
    considered = tiers.facts_to_sleep_on(event.time) if kind == "facts" else tiers.language_to_sleep_on()
    if considered == event.payload["considered"]:
        return event.payload, experts[event.payload["expert"]]
    if not considered:
        return None, None
    expert = consolidate_kind(tiers, kind, considered).expert
    if expert is None:
        return None, None
    snapshots.save(home.snapshots, f"expert-{expert.delta.name}", expert.state(), home.log.head())
    return _payload(kind, considered, expert), expert


# ---------------------------------------------------------------------------------------------------------- teaching


def studies(tiers: Tiers, considered: Sequence[str]) -> list[Study]:
    """What each episode is studied with. Without a trained reader only rules make questions."""
    return [
        make_study(name, tiers.told[name].written, _posed(tiers, name) if tiers.reader else ()) for name in considered
    ]


@torch.no_grad()
def _posed(tiers: Tiers, episode: str) -> list[Exchange]:
    """Questions that the reader poses from a page, with the answers it gives with the page in sight.

    The draws are seeded by the episode alone, so that they do not depend on what else is consolidated.
    """
    assert tiers.reader is not None
    core, deltas = tiers.core, (tiers.reader.delta,)
    page = tiers.episodes.pages([episode])
    row = Row(core.prompt(POSE), page)
    generator = torch.Generator().manual_seed(seed_of("pose", episode, tiers.config.seed))
    drawn = generate(core, [row] * tiers.config.posed, deltas, max_tokens=32, sample=generator)
    questions = list(dict.fromkeys(q for q in map(core.decode, drawn) if q.endswith(("?", "."))))
    rows = [Row(core.prompt(question), page) for question in questions]
    answers = [core.decode(ids) for ids in generate(core, rows, deltas, max_tokens=24)]
    known = [Exchange(q, a) for q, a in zip(questions, answers, strict=True) if "don't know" not in a]
    return [exchange for exchange in known if exchange.answer]
