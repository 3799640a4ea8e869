"""From a log to its tiers: opening a home, rebuilding what is missing, and forgetting.

A page, an expert or a fast state on the disk only spares work. Where one is missing or damaged it is made again from
the log, and forgetting is a replay without what is forgotten. A skill alone is kept and not made again: what it was
learned from, a task with its verifier, is not in the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from fastslow import sleeping
from fastslow.core import Core
from fastslow.errors import StoreError
from fastslow.fast import trajectory
from fastslow.medium import pages
from fastslow.medium.reader import Reader
from fastslow.reports import Receipt
from fastslow.slow import Expert
from fastslow.slow import experts as slow_experts
from fastslow.slow.skills import Skill
from fastslow.state import State
from fastslow.store import Event, Home, io, snapshots
from fastslow.store.log import FIRST_HASH
from fastslow.tiers import STREAMED, LearnerConfig, Mark, Progress, Tiers

BITS = "bits of a page"  # that the stored pages were written with: one with fewer has faded


def load(home: Home, core: Core, reader: Reader | None, config: LearnerConfig) -> Tiers:
    """The tiers of a home, from what is stored where it is sound, and by replay where it is not."""
    tiers = Tiers(core, reader, config)
    bits = str(config.recall.bits)
    stored = _stored_pages(home) if home.log.get_meta(BITS) in (None, bits) else {}
    experts = {e.payload["expert"]: load_expert(home, e.payload["expert"]) for e in home.log.events(["sleep"])}
    events = list(home.log.events())
    skills = load_skills(home)
    start = _load_fast(home, tiers, events)
    for event in events:
        expert = experts.get(event.payload["expert"]) if event.kind == "sleep" else None
        if event.kind == "sleep" and expert is None:
            expert = sleeping.make_again(home, tiers, event)
        skill = skills.get(event.payload["task"]) if event.kind == "skill" else None
        tiers.apply(event, page=stored.get(event.episode or ""), expert=expert, skill=skill, fast=event.seq >= start)
    sleeping.keep_pages(home, tiers, stored)
    if home.log.get_meta(BITS) != bits:
        home.log.set_meta(BITS, bits)
    _sweep(home, tiers, events)
    return tiers


def _stored_pages(home: Home) -> dict[str, State]:
    home.log.drop_bad_records()
    return {
        episode: State.from_bytes(data, layout=pages.LAYOUT, version=pages.VERSION)
        for episode, data in home.log.records()
    }


def _fast_name(config: LearnerConfig) -> str:
    """Fast weights of other settings are another state, with other shapes."""
    return f"fast-{sha256(repr(config.fast).encode()).hexdigest()[:8]}"


def _load_fast(home: Home, tiers: Tiers, events: list[Event]) -> int:
    """Take the saved fast state in; the number of the first event that it has not seen."""
    try:
        found = snapshots.load(home.snapshots, _fast_name(tiers.config), trajectory.LAYOUT, trajectory.VERSION)
    except StoreError:
        found = None  # damaged: made again by replay
        snapshots.delete(home.snapshots, _fast_name(tiers.config))
    last = found and next((event for event in events if event.hash == found[1]["log_hash"]), None)
    if found is None or last is None:
        return tiers.resume(())
    seen = tiers.stream_length([event for event in events if event.seq <= last.seq])
    return tiers.resume([Mark(0, last.seq, found[0], seen)])


def save_fast(home: Home, tiers: Tiers) -> None:
    """Save the fast state where it is not what is saved, so that the next opening need not stream the whole log
    again."""
    name = _fast_name(tiers.config)
    if tiers.seen and tiers.head == home.log.head() != snapshots.log_hash(home.snapshots, name):
        snapshots.save(home.snapshots, name, tiers.fast, tiers.head)


def fast_size(tiers: Tiers) -> float:
    """The norm of the fast weights."""
    return trajectory.size(tiers.fast)


def load_expert(home: Home, name: str) -> Expert | None:
    """The stored expert of this name; None where it is missing or damaged."""
    try:
        found = snapshots.load(home.snapshots, sleeping.snapshot_name(name), slow_experts.LAYOUT, slow_experts.VERSION)
        return Expert.from_state(found[0]) if found else None
    except StoreError:
        return None


def skill_folder(home: Home, task: str, sha256: str) -> Path:
    """Another version of a skill has another folder, so that none is ever half of each."""
    return home.folder / "skills" / f"{task}-{sha256[:8]}"


def _skill_folders(home: Home) -> list[tuple[str, Path]]:
    """The task and the folder of every skill that the log speaks of, a newer one of the same task later."""
    payloads = [event.payload for event in home.log.events(["skill"])]
    return [(each["task"], skill_folder(home, each["task"], each["hash"])) for each in payloads]


def load_skills(home: Home) -> dict[str, Skill]:
    """The newest skill of each task, but those whose folder was removed. Raises StoreError for a damaged one."""
    folders = {task: folder for task, folder in dict(_skill_folders(home)).items() if folder.is_dir()}
    skills = {task: Skill.load(folder) for task, folder in folders.items()}
    for task, skill in skills.items():
        if skill_folder(home, task, skill.hash()) != folders[task]:  # its contexts go into prompts
            raise StoreError(f"{folders[task]} is not what was learned: remove the folder, and train again")
    return skills


def sweep_skills(home: Home) -> None:
    """Remove the folders of skills that were learned anew, and nothing else that a user may keep there."""
    named = _skill_folders(home)
    for folder in {folder for _, folder in named} - set(dict(named).values()):
        if folder.is_dir():
            io.remove_folder(folder)


def _sweep(home: Home, tiers: Tiers, events: Sequence[Event] = ()) -> None:
    """Delete every snapshot but those of the experts that events speak of and, among the others, those of a history
    that ``events`` begin with: what a sleep or a forgetting that was cut off left behind."""
    known = {FIRST_HASH, *(event.hash for event in events)} if events else set()
    others = (_fast_name(tiers.config), *sleeping.UNFINISHED.values(), sleeping.IN_VAIN)
    current = {name for name in others if snapshots.log_hash(home.snapshots, name) in known}
    snapshots.sweep(home.snapshots, {sleeping.snapshot_name(name) for name in tiers.experts} | current)


# ---------------------------------------------------------------------------------------------------------- forgetting


def forget(
    home: Home, tiers: Tiers, episodes: set[str], *, time: float, dry_run: bool, progress: Progress | None = None
) -> tuple[Receipt, Tiers]:
    """Erase episodes and rebuild every tier without them; the receipt and the new tiers.

    The rebuilding comes first and the erasure is one transaction, so a crash leaves all or nothing forgotten. The chat
    turns in which an episode was said go with it, and what a turn of the ``episodes`` read and said again.
    """
    events = list(home.log.events())
    gone = episodes | {e.episode for e in events if e.episode and episodes & set(e.payload.get("episodes", ()))}
    own = _own(events, episodes)
    lost = [e for e in events if e.episode in gone or e.seq in own]
    left = [e for e in events if e.episode not in gone and e.seq not in own]
    redone = [e for e in left if e.kind == "sleep" and gone & set(e.payload["considered"])]
    told = sum(name in tiers.told for name in gone)
    new = Tiers(tiers.core, tiers.reader, tiers.config)
    first = min(event.seq for event in lost)
    start = new.resume([mark for mark in tiers.marks if mark.seq < first] if tiers.head == home.log.head() else ())
    streamed = sum(e.kind in STREAMED for e in left if e.seq >= start)
    what = {
        "fast": f"{_counted(streamed, 'text')} streamed again",
        "medium": f"{_counted(told, 'page')} taken out",
        "slow": f"{_counted(len(redone), 'sleep')} made again",
    }
    if dry_run:
        return Receipt(tuple(sorted(episodes)), len(lost), what, len(redone), "", True), tiers
    stored = _stored_pages(home)
    payloads = dict.fromkeys(own) | _without(home, tiers, new, left, gone, start, stored, progress)
    state = new.hash()
    receipt = {"episodes": sorted(gone), "state": state}
    new.head = home.log.erase(gone, receipt, time=time, rewrite=lambda e: payloads.get(e.seq, e.payload)).hash
    _sweep(home, new)
    sleeping.keep_pages(home, new, {name: page for name, page in stored.items() if name not in gone})
    save_fast(home, new)
    return Receipt(tuple(sorted(episodes)), len(lost), what, len(redone), state, False), new


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _own(events: list[Event], turns: set[str]) -> set[int]:
    """The numbers of the events by which these turns of a chat read an episode or said again what one says."""
    own: set[int] = set()
    for n, event in enumerate(events):
        if event.kind == "turn" and event.episode in turns:
            wrote = events[max(0, n - event.payload.get("wrote", 0)) : n]
            own |= {each.seq for each in wrote if each.kind in ("read", "restate")}
    return own


def _without(
    home: Home,
    tiers: Tiers,
    new: Tiers,
    events: list[Event],
    gone: set[str],
    start: int,
    stored: Mapping[str, State],
    progress: Progress | None,
) -> dict[int, dict[str, object] | None]:
    """Make ``new`` the tiers of these ``events``, the history without ``gone``, streaming from the event number
    ``start`` on. Gives the payloads that change with it (None: the event goes too)."""
    full = {n: p for n, p in stored.items() if p.numbers["bits"] == tiers.config.recall.bits}
    # an interrupted write can have left memory behind the log
    skills = tiers.skills if tiers.head == home.log.head() else load_skills(home)
    payloads: dict[int, dict[str, object] | None] = {}
    for n, event in enumerate(events):
        expert = None
        if event.kind == "read":
            kept = [e for e in event.payload["episodes"] if e not in gone]
            if kept != event.payload["episodes"]:
                payloads[event.seq] = {"episodes": kept} if kept else None
            if not kept:
                continue
            event = replace(event, payload={"episodes": kept})
        elif event.kind == "sleep":
            name = event.payload["expert"]
            payload, expert = sleeping.redo(home, new, event, gone, tiers.experts.get(name) or load_expert(home, name))
            if payload != event.payload:
                payloads[event.seq] = payload
            if payload is None:
                continue
            event = replace(event, payload=payload)
        skill = skills.get(event.payload["task"]) if event.kind == "skill" else None
        new.apply(event, page=full.get(event.episode or ""), expert=expert, skill=skill, fast=event.seq >= start)
        if progress:
            progress("replay", n + 1, len(events), 0.0)
    return payloads
