"""Check a home, and rebuild from its log what is damaged.

The log is the truth: events are checked and never touched. Everything else is derived from them, so what is damaged is
dropped, and a replay makes it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastslow import cores, replay, sleeping
from fastslow.core import Core, Delta
from fastslow.errors import StoreError
from fastslow.medium import pages
from fastslow.medium import reader as readers
from fastslow.medium.reader import Reader
from fastslow.slow import Expert
from fastslow.state import State
from fastslow.store import Event, Home, snapshots
from fastslow.tiers import LearnerConfig, Tiers

_NOT_REPAIRED = "not repaired, because the truth itself is damaged (restore it from a backup): "


def check(home: Path, core: str | Core | None = None, config: LearnerConfig | None = None) -> list[str]:
    """Everything that is wrong with a home, in words; empty where it is sound. Changes nothing
    but what every opening mends: an erasure or a write that was cut off.

    The log against its hash chain, records and snapshots against their checksums; with a ``core`` also every page
    against what a replay gives, bit for bit. Raises InputError where there is no home, HomeInUse where another process
    owns it, and HomeMismatch or CoreError for a core that did not make it.
    """
    opened = _open(home)
    if isinstance(opened, str):
        return [opened]
    with opened:
        found = opened.log.verify()
        found += snapshots.faults(opened.snapshots).values()
        if not _log_faults(opened):
            events = list(opened.log.events())
            found += [*_strange_records(opened, events).values(), *_strange_snapshots(opened, events).values()]
            try:
                replay.load_skills(opened)
            except StoreError as error:
                found.append(str(error))
            found += [f"the expert {name} is missing or damaged" for name in _lost_experts(opened, events)]
            if core is not None:
                tiers = Tiers(*_fitting(opened, core), config or LearnerConfig())
                found += _page_faults(opened, tiers, events).values()
    return list(dict.fromkeys(found))


def repair(home: Path, core: str | Core, config: LearnerConfig | None = None) -> list[str]:
    """Drop what is damaged and derived, rebuild it by a replay of the log, and say what was done; empty where there was
    nothing to do.

    Events are never touched. A log that is damaged itself is not repaired: the only entries are then what is wrong with
    it. Raises as :func:`check` does.
    """
    config = config or LearnerConfig()
    opened = _open(home)
    if isinstance(opened, str):
        return [_NOT_REPAIRED + opened]
    with opened:
        wrong = _log_faults(opened)
        if wrong:
            return [_NOT_REPAIRED + fault for fault in wrong]
        loaded, reader = _fitting(opened, core)
        events = list(opened.log.events())
        done = [f"{fault}: deleted" for fault in _delete_snapshots(opened, events)]
        lost = _lost_experts(opened, events)
        for name, fault in _page_faults(opened, Tiers(loaded, reader, config), events).items():
            opened.log.delete_record(name)
            done.append(f"{fault}: made what its text gives")
        if done or lost:
            tiers = replay.load(opened, loaded, reader, config)
            replay.save_fast(opened, tiers)
            done += [_remade(opened, name) for name in lost]
    return done


def _open(home: Path) -> Home | str:
    """The open home, or what keeps it from being opened at all."""
    try:
        return Home.open(home, create=False)
    except StoreError as error:
        return str(error)


def _fitting(home: Home, core: str | Core) -> tuple[Core, Reader | None]:
    """The core, loaded, and its reader; raises HomeMismatch where another core made the home."""
    loaded = core if isinstance(core, Core) else Core.load(core)
    if home.core is not None:
        home.check_core(loaded.fingerprint)
    return loaded, readers.find(loaded, (cores.cache_folder() / "readers",))


def _log_faults(home: Home) -> list[str]:
    """What is wrong with the log apart from its records, which can be made again."""
    return [fault for fault in home.log.verify() if not fault.startswith("the record of ")]


def _lost_experts(home: Home, events: Sequence[Event]) -> list[str]:
    """The experts that events speak of and that no sound snapshot holds."""
    named = [event.payload["expert"] for event in events if event.kind == "sleep"]
    return [name for name in dict.fromkeys(named) if replay.load_expert(home, name) is None]


def _remade(home: Home, expert: str) -> str:
    if replay.load_expert(home, expert) is None:
        return f"the expert {expert} is lost: its sleep, made again, came to nothing; its episodes are awake again"
    return f"the expert {expert} was missing or damaged: its sleep was made again"


def _strange_records(home: Home, events: Sequence[Event]) -> dict[str, str]:
    """The records of what the log does not speak of, which a forgetting that was cut off can leave, by episode."""
    told = {event.episode for event in events if event.kind == "learn"}
    strange = [name for name in home.log.record_names() if name not in told]
    return {name: f"the record of episode {name} belongs to no episode of the log" for name in strange}


def _strange_snapshots(home: Home, events: Sequence[Event]) -> dict[str, str]:
    """The snapshots of what the log does not speak of, by name."""
    found = {}
    wanted = {sleeping.snapshot_name(event.payload["expert"]) for event in events if event.kind == "sleep"}
    known = {event.hash for event in events}
    for path in sorted(home.snapshots.glob("*.json")):
        current = path.stem in wanted or snapshots.log_hash(home.snapshots, path.stem) in known
        if not current or (path.stem.startswith("expert-") and path.stem not in wanted):
            found[path.stem] = f"snapshot {path.stem} belongs to no event of the log"
    return found


def _delete_snapshots(home: Home, events: Sequence[Event]) -> list[str]:
    """Delete snapshots that are damaged or that the log does not speak of; what was wrong with each."""
    faults = snapshots.faults(home.snapshots)
    strange = _strange_snapshots(home, events)
    snapshots.sweep(home.snapshots, {path.stem for path in home.snapshots.glob("*.json")} - {*faults, *strange})
    return list(dict.fromkeys([*faults.values(), *strange.values()]))


def _page_faults(home: Home, tiers: Tiers, events: Sequence[Event]) -> dict[str, str]:
    """By episode, the records that are not, bit for bit, the pages which a replay of the log by new ``tiers`` gives."""
    for event in events:
        tiers.apply(event, expert=_expert(home, tiers, event) if event.kind == "sleep" else None, fast=False)
    faults = _strange_records(home, events)
    for name, record in tiers.episodes.records.items():
        fault = _page_fault(home, name, record.page)
        if fault:
            faults[name] = fault
    return faults


def _expert(home: Home, tiers: Tiers, event: Event) -> Expert | None:
    """The expert of a sleep. One that is lost will be made again, so one of the same episodes stands for it."""
    name, accepted = event.payload["expert"], event.payload["accepted"]
    found = replay.load_expert(home, name)
    if found is None and not sleeping.came_to_nothing(home, tiers, event):
        return Expert(Delta(name, {}), None, tuple(accepted))
    return found


def _page_fault(home: Home, name: str, page: State | None) -> str:
    try:
        data = home.log.record(name)
        stored = State.from_bytes(data, layout=pages.LAYOUT, version=pages.VERSION) if data is not None else None
    except StoreError:
        return f"the page of episode {name} is damaged"
    if (stored is None) != (page is None):
        return f"the page of episode {name} is missing" if stored is None else f"the page of episode {name} was dropped"
    if stored is not None and page is not None and stored.hash() != page.hash():
        return f"the page of episode {name} is not what its text gives"
    return ""
