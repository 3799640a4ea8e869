"""The log against a model of it: a list of events and a dict of records."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fastslow.store.log import Event, Log

ids = st.sampled_from(["a", "b", "c", "d", "é"])
payloads = st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=20) | st.none(), max_size=3)
data = st.binary(max_size=50) | st.just(b"z" * 9000)


class LogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "log.sqlite"
        self.log = Log.open(self.path)
        self.events: list[tuple[str, str | None, dict[str, Any]]] = []
        self.records: dict[str, bytes] = {}

    def teardown(self) -> None:
        self.log.close()
        self.folder.cleanup()

    @rule(payload=payloads, episode=ids | st.none(), record=data | st.none(), time=st.floats(0, 1e10))
    def append(self, payload: dict[str, Any], episode: str | None, record: bytes | None, time: float) -> None:
        if episode is None:
            record = None
        event = self.log.append("learn", payload, episode, time=time, record=record)
        assert (event.payload, event.time) == (payload, time)
        self.events.append(("learn", episode, payload))
        if record is not None and episode is not None:
            self.records[episode] = record

    @rule(members=st.lists(ids))
    def sleep(self, members: list[str]) -> None:
        self.log.append("sleep", {"ids": members}, time=0.0)
        self.events.append(("sleep", None, {"ids": members}))

    @rule(changes=st.dictionaries(ids, data))
    def put_records(self, changes: dict[str, bytes]) -> None:
        self.log.put_records(changes)
        self.records.update(changes)

    @rule(episode=ids)
    def delete_record(self, episode: str) -> None:
        self.log.delete_record(episode)
        self.records.pop(episode, None)

    @rule()
    def reopen(self) -> None:
        self.log.close()
        self.log = Log.open(self.path, create=False)

    @precondition(lambda self: self.known())
    @rule(choice=st.data())
    def erase(self, choice: st.DataObject) -> None:
        gone = choice.draw(st.sets(st.sampled_from(sorted(self.known())), min_size=1))

        def rewrite(event: Event) -> dict[str, Any] | None:
            if event.kind != "sleep":
                return event.payload
            left = [episode for episode in event.payload["ids"] if episode not in gone]
            return {"ids": left} if left else None

        self.log.erase(gone, {"n": len(gone)}, time=0.0, rewrite=rewrite)
        kept = []
        for kind, episode, payload in self.events:
            left = [e for e in payload["ids"] if e not in gone] if kind == "sleep" else []
            if kind == "sleep" and left:
                kept.append((kind, episode, {"ids": left}))
            elif kind != "sleep" and episode not in gone:
                kept.append((kind, episode, payload))
        self.events = [*kept, ("forget", None, {"n": len(gone)})]
        self.records = {episode: record for episode, record in self.records.items() if episode not in gone}

    def known(self) -> set[str]:
        return {episode for _, episode, _ in self.events if episode is not None} | set(self.records)

    @invariant()
    def agrees(self) -> None:
        assert [(e.kind, e.episode, e.payload) for e in self.log.events()] == self.events
        assert dict(self.log.records()) == self.records
        assert self.log.verify() == []


TestLogModel = LogMachine.TestCase
TestLogModel.settings = settings(max_examples=30, stateful_step_count=20)
