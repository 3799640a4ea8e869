"""The learner: a core with its memories, living in a home."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fastslow import cores, replay, sleeping
from fastslow.core import Core, Delta
from fastslow.decode import Row, answer_log_probabilities, generate
from fastslow.errors import InputError, StoreError, UnknownEpisode
from fastslow.medium import reader as readers
from fastslow.medium.split import Piece, split, split_again
from fastslow.reports import Answer, Episode, Read, Receipt, SleepReport, Status, Trace, TraceLine
from fastslow.slow.skills import Skill
from fastslow.state import State
from fastslow.store import Home, io
from fastslow.tiers import ALL, LearnerConfig, Progress, Reading, Tiers, Told

WHOLE = re.compile(r".*[.!?](?=\s)", re.DOTALL)  # the whole sentences of a text that may break off


class Learner:
    """A core that keeps what it learns. Open one with :meth:`open`; it is a context manager.

    Every method that changes something returns only after its event is on the disk (SQLite, ``synchronous=FULL``).
    """

    def __init__(self, home: Home, core: Core, tiers: Tiers, clock: Callable[[], float]):
        self.home, self.core, self.tiers, self._clock = home, core, tiers, clock
        self._remembering = True
        self._closed = False

    # ------------------------------------------------------------------ opening and closing

    @classmethod
    def open(
        cls,
        home: str | Path,
        core: str | Core = cores.DEFAULT_CORE,
        *,
        create: bool = True,
        config: LearnerConfig | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open the home in a folder, making it where there is none.

        ``core``: the default core's name, a hub id, a local folder or GGUF file, or a loaded Core. Raises HomeInUse,
        HomeMismatch (made by another core), StoreError (damaged) or CoreError.
        """
        opened = Home.open(Path(home).expanduser(), create=create)
        try:
            loaded = core if isinstance(core, Core) else Core.load(core)
            opened.check_core(loaded.fingerprint)
            reader = readers.find(loaded, (cores.cache_folder() / "readers",))
            tiers = replay.load(opened, loaded, reader, config or LearnerConfig())
        except BaseException:
            opened.close()
            raise
        return cls(opened, loaded, tiers, clock)

    def close(self) -> None:
        """Save what spares the next opening a replay, and let the home go."""
        if not self._closed:
            self._closed = True
            try:
                replay.save_fast(self.home, self.tiers)
            finally:
                self.home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except StoreError:  # what closing saves can be made again, so the first error is the one to tell
            if error is None:
                raise

    # ------------------------------------------------------------------ learning

    def learn(self, text: str, source: str = "") -> Episode:
        """Learn one episode; durable when this returns. A text that says what an episode already says makes that one
        stronger. Raises InputError for an empty text or one that is too long for one episode."""
        return self._learn(Piece("", _clean(text)), source)

    def learn_document(
        self, text: str, source: str = "", progress: Callable[[int, int], None] | None = None
    ) -> list[Episode]:
        """Learn a document, split along its structure into episodes; each is durable before the next begins."""
        pieces = split(_clean(text), self._tokens, self.tiers.config.page)
        episodes = []
        for n, piece in enumerate(pieces):
            episodes.append(self._learn(piece, source))
            if progress:
                progress(n + 1, len(pieces))
        return episodes

    def _tokens(self, text: str) -> int:
        return len(self.core.encode(text))

    @property
    def _longest(self) -> int:
        """The most tokens of one episode: a little above the splitter's own bound, which adds up pieces whose tokens
        join differently."""
        return 2 * self.tiers.config.page

    def _check(self, piece: Piece, source: str) -> None:
        _clean(source.strip() or "none")
        tokens = self._tokens(piece.written)
        if tokens > self._longest:
            raise InputError(
                f"this text has {tokens} tokens, one episode has at most {self._longest}: "
                "use learn_document, which splits it"
            )

    def _learn(self, piece: Piece, source: str) -> Episode:
        self._check(piece, source)
        known = self.tiers.said_before(piece.written)
        payload = {"text": piece.text, "source": source, "heading": piece.heading}
        if known is not None:
            page = self.tiers.page_of(known) if self.tiers.episodes.faded(known) else None
            self._take_in("restate", payload, known, page=page)
            return self._episode(known)
        page = self.tiers.episodes.write(piece.written)
        episode = "e" + hashlib.sha256(piece.written.encode()).hexdigest()[:12]
        self._take_in("learn", payload, episode, page=page)
        return self._episode(episode)

    def _take_in(
        self,
        kind: str,
        payload: dict[str, Any],
        episode: str | None = None,
        *,
        page: State | None = None,
        skill: Skill | None = None,
    ) -> None:
        """Append an event to the log, durably, and then let the tiers take it in."""
        self._check_in_step()
        record = page.to_bytes() if page is not None else None
        event = self.home.log.append(kind, payload, episode, time=self._clock(), record=record)
        self.tiers.apply(event, page=page, skill=skill)

    def _check_in_step(self) -> None:
        if self.tiers.head != self.home.log.head():
            raise StoreError("the last write was interrupted, and memory is not what the log says: open the home again")

    # ------------------------------------------------------------------ answering

    def ask(self, question: str, max_tokens: int = 48, *, tiers: Sequence[str] = ALL) -> Answer:
        """Answer a question, greedily. What it reads is strengthened by that. ``tiers`` limits what may be read.
        Raises InputError for an empty question and for a tier that there is not."""
        for strange in {*tiers} - {*ALL}:
            raise InputError(f"there is no tier {strange!r}: give some of {', '.join(ALL)}")
        return self._answer(_clean(question), [{"role": "user", "content": question.strip()}], max_tokens, tiers)

    def chat(self, messages: Sequence[dict[str, str]], max_tokens: int = 200) -> Answer:
        """Answer the last message of a conversation (roles "user" and "assistant", newest last).

        What the user states, rather than asks, is learned as an episode. What the user says passes through the fast
        tier. What the core says itself is not kept at all: memory must not feed on its own answers, and an answer can
        hold the words of any episode, which forgetting that episode could not find again.
        """
        last = _clean(_last(messages))
        answer = self._answer(last, list(messages), max_tokens, ALL)
        if not self._remembering:
            return answer
        states = not last.endswith("?") and len(last.split()) > 3
        learned = [episode.id for episode in self.learn_document(last, "chat")] if states else []
        about = list(dict.fromkeys([*learned, *(hit.episode for hit in answer.hits)]))
        # how many events right before it are its own, for those that are no episode's beginning are forgotten with it
        turn = {"text": f"user: {last}", "episodes": about, "wrote": len(learned) + bool(answer.hits)}
        name = "t" + hashlib.sha256(f"{self.home.log.head()}{last}".encode()).hexdigest()[:12]
        self._take_in("turn", turn, name)
        return answer

    def _answer(self, question: str, messages: list[dict[str, str]], max_tokens: int, tiers: Sequence[str]) -> Answer:
        prompt = self.core.prompt(messages)
        if not self._remembering:
            return Answer(self._decode(Row(prompt), (), max_tokens), prompt_tokens=len(prompt))
        reading = self._read(question, messages, tiers)
        text = self._decode(reading.row, reading.deltas, max_tokens)
        if reading.hits:
            self._take_in("read", {"episodes": [reading.hits[0].episode]})
        return _as_answer(text, reading, len(prompt))

    def _read(self, question: str, messages: list[dict[str, str]], tiers: Sequence[str] = ALL) -> Reading:
        """What a question reads. The context of a skill, which is medium state, is put before it."""
        self._check_in_step()
        reading = self.tiers.read(question, self.core.prompt(messages), tiers)
        if reading.skill is None or "medium" not in tiers:
            return reading
        asked = {**messages[-1], "content": reading.skill.asked(messages[-1]["content"])}
        return replace(reading, row=replace(reading.row, prompt=self.core.prompt([*messages[:-1], asked])))

    def _decode(self, row: Row, deltas: Sequence[Delta], max_tokens: int) -> str:
        return self._said(row, generate(self.core, [row], deltas, max_tokens=max_tokens)[0], max_tokens)

    def _said(self, row: Row, ids: list[int], max_tokens: int) -> str:
        """The answer as text. Of one from pages that was cut off only whole sentences are kept, if there is any: what
        the reader says first is the answer, and the sentence behind it says where that stands."""
        text = self.core.decode(ids)
        whole = WHOLE.match(text) if row.pages and len(ids) >= max_tokens else None
        return whole[0] if whole else text

    def trace(self, question: str, max_tokens: int = 48) -> Trace:
        """Answer, and tell what the answer rests on: everything that was read, and how many nats the log-probability
        of the answer falls when that alone is taken away. Strengthens nothing."""
        prompt = self.core.prompt(_clean(question))
        if not self._remembering:
            answer = self.ask(question, max_tokens)
            return Trace(answer, answer.text, ())
        reading = self._read(question, [{"role": "user", "content": question.strip()}])
        ids = generate(self.core, [reading.row], reading.deltas, max_tokens=max_tokens)[0]
        full = self._log_probability(reading, ids)
        lines = [
            TraceLine(tier, what, text, weight, full - self._log_probability(without, ids), through)
            for tier, what, text, weight, through, without in self._ablations(reading, prompt)
        ]
        bare = self._decode(Row(prompt), (), max_tokens)
        said = self._said(reading.row, ids, max_tokens)
        return Trace(_as_answer(said, reading, len(prompt)), bare, tuple(lines))

    def _ablations(
        self, reading: Reading, bare: list[int]
    ) -> Iterator[tuple[str, str, str, float, str | None, Reading]]:
        if reading.row.pages:
            for hit in reading.hits:
                others = [h.episode for h in reading.hits if h is not hit]
                row = self.tiers.row(reading.row.prompt, others)
                left = list(reading.deltas)
                if reader := self.tiers.reader:  # one of its adapters is on, and only while a page is read
                    left[:1] = [reader.adapter(row.pages)] if row.pages else []
                without = replace(reading, row=row, deltas=tuple(left))
                yield "medium", hit.episode, self.tiers.told[hit.episode].text, hit.score, hit.through, without
        named = [("slow", e.delta.name, f"{len(e.episodes)} episodes", e.delta) for e in reading.experts]
        if skill := reading.skill:
            if skill.lines:
                alone = replace(reading, row=replace(reading.row, prompt=bare))
                yield "medium", skill.task, " / ".join(skill.lines), 1.0, None, alone
            named.append(("slow", skill.delta.name, f"{skill.about.get('rollouts', 'unknown')} rollouts", skill.delta))
        if reading.fast:
            named.append(("fast", "fast", f"{self.tiers.seen} tokens streamed", self.tiers.fast_delta()))
        for tier, what, text, delta in named:
            deltas = tuple(d for d in reading.deltas if d is not delta)
            without = replace(reading, deltas=deltas)
            yield tier, what, text, 1.0, None, without

    def _log_probability(self, reading: Reading, ids: Sequence[int]) -> float:
        """Of the answer ``ids`` under what is read, in nats."""
        return float(answer_log_probabilities(self.core, [reading.row], ids, reading.deltas).sum())

    @contextmanager
    def memory_off(self) -> Iterator[None]:
        """Inside, the bare core answers alone: its logits are its own bits."""
        before, self._remembering = self._remembering, False
        try:
            yield
        finally:
            self._remembering = before

    # ------------------------------------------------------------------ skills

    def adopt(self, skill: Skill) -> None:
        """Make what fast-slow training has learned of a task a part of this learner: where a question is like the
        task's, ``ask`` puts the best context before it and switches the adapter on."""
        kept = replay.skill_folder(self.home, skill.task, skill.hash())
        skill.save(kept, self.core)  # first the files, then the event that names them, then what it takes the place of
        about = {**skill.about, "task": skill.task, "contexts": [c.id for c in skill.contexts], "hash": skill.hash()}
        self._take_in("skill", about, skill=skill)
        replay.sweep_skills(self.home)

    # ------------------------------------------------------------------ sleeping and forgetting

    def sleep(self, *, progress: Progress | None = None, stop: Callable[[], bool] | None = None) -> SleepReport:
        """Consolidate episodes into the slow tier. Interrupted (``stop``), it goes on where it was the next time."""
        self._check_in_step()
        return sleeping.sleep(self.home, self.tiers, self._clock, progress=progress, stop=stop)

    def forget(self, *episodes: str, dry_run: bool = False, progress: Progress | None = None) -> Receipt:
        """Forget episodes in every tier, as if they had never been learned, and erase every byte of them.

        Raises UnknownEpisode, before anything changes, for an id that is not there.
        """
        unknown = sorted(set(episodes) - {e.episode for e in self.home.log.events() if e.episode})
        if unknown or not episodes:
            raise UnknownEpisode(
                f"no episode has the id {', '.join(unknown) or '(none given)'}: `fastslow history` lists them"
            )
        receipt, tiers = replay.forget(
            self.home, self.tiers, set(episodes), time=self._clock(), dry_run=dry_run, progress=progress
        )
        self.tiers = tiers
        return receipt

    # ------------------------------------------------------------------ looking

    def history(self) -> list[Episode]:
        """Every episode, oldest first."""
        self._check_in_step()
        return [self._episode(name) for name in self.tiers.told]

    def episode(self, name: str) -> Episode:
        """One episode; raises UnknownEpisode."""
        self._check_in_step()
        if name not in self.tiers.told:
            raise UnknownEpisode(f"no episode has the id {name}: `fastslow history` lists them")
        return self._episode(name)

    def _episode(self, name: str) -> Episode:
        told: Told = self.tiers.told[name]
        record = self.tiers.episodes.records[name]
        strength = record.strength(self._clock(), self.tiers.config.recall.half_life)
        size = record.page.size_bytes() if record.page else 0
        bits = record.page.numbers["bits"] if record.page else 0
        stage = "asleep" if record.asleep else "awake"
        return Episode(name, told.text, told.source, told.heading, told.time, strength, record.uses, stage, size, bits)

    def status(self) -> Status:
        """What each tier holds and weighs."""
        episodes = self.history()
        strengths = [0] * 10
        for episode in episodes:
            strengths[min(9, int(episode.strength * 10))] += 1
        tiers = self.tiers
        return Status(
            home=str(self.home.folder),
            core=self.core.name,
            reader=readers.describe(tiers.reader),
            episodes=len(episodes),
            awake=sum(e.stage == "awake" for e in episodes),
            asleep=sum(e.stage == "asleep" for e in episodes),
            bytes={
                "fast": tiers.fast.size_bytes(),
                "medium": sum(e.bytes for e in episodes),
                "slow": sum(e.size_bytes() for e in tiers.experts.values())
                + sum(s.size_bytes() for s in tiers.skills.values()),
            },
            strengths=tuple(strengths),
            fast={"tokens": float(tiers.seen), "size": replay.fast_size(tiers)},
            experts=tuple(f"{name}: {len(e.episodes)} episodes" for name, e in tiers.experts.items()),
            skills=tuple(f"{s.task}: {len(s.contexts)} contexts, best {s.lines}" for s in tiers.skills.values()),
            events=sum(1 for _ in self.home.log.events()),
            size_bytes=self.home.size_bytes(),
        )

    # ------------------------------------------------------------------ taking it elsewhere

    def export(self, path: str | Path) -> int:
        """Write every episode as a line of JSON (text, heading, source, time); the number of lines."""
        lines = self.exported()
        io.write_atomic(Path(path), "".join(line + "\n" for line in lines).encode())
        return len(lines)

    def exported(self) -> list[str]:
        """The lines that :meth:`export` writes."""
        self._check_in_step()
        # as they were told last: "opens at 9" that was told again after "opens at 10" is the newer one elsewhere too
        order = sorted(self.tiers.episodes.records.values(), key=lambda record: record.told)
        return [
            json.dumps({"text": t.text, "heading": t.heading, "source": t.source, "time": t.time}, ensure_ascii=False)
            for t in (self.tiers.told[record.episode] for record in order)
        ]

    def import_(self, path: str | Path, progress: Callable[[int, int], None] | None = None) -> list[Episode]:
        """Learn what :meth:`export` wrote. All lines are checked before the first is learned; raises InputError. What
        is one episode for another core, and too long for this one, is split."""
        path = Path(path)
        try:
            # Not splitlines: JSON keeps line separators such as U+2028 inside a string as they are.
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read ({error}): give a file that `fastslow export` wrote") from error
        rows = [_row(path, n, line) for n, line in enumerate(lines, 1) if line.strip()]
        told = [(piece, row["source"]) for row in rows for piece in self._fitting(Piece(row["heading"], row["text"]))]
        for piece, source in told:
            self._check(piece, source)
        episodes = []
        for n, (piece, source) in enumerate(told):
            episodes.append(self._learn(piece, source))
            if progress:
                progress(n + 1, len(told))
        return episodes

    def _fitting(self, piece: Piece) -> list[Piece]:
        """The piece, or what it is split into where it is too long for one episode."""
        if self._tokens(piece.written) <= self._longest:
            return [piece]
        return split_again(piece, self._tokens, self.tiers.config.page)


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        text, heading, source = row["text"], row.get("heading") or "", row.get("source") or ""
        for part in (text, heading.strip() or "none", source.strip() or "none"):
            _clean(part)
        # a line of code keeps its indentation, and with it its id
        return {"text": text.rstrip().lstrip("\r\n"), "heading": heading, "source": source}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InputError) as error:
        raise InputError(
            f"{path}, line {number}, is no exported episode ({error}): nothing was learned, export it again"
        ) from error


def _last(messages: Sequence[dict[str, str]]) -> str:
    """What the user said last. Raises InputError for what is no conversation."""
    sound = all(isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in messages)
    if not messages or not sound or messages[-1]["role"] != "user":
        raise InputError("a conversation is a list of messages with a role and a content, the last one the user's")
    for message in messages:
        _clean(message["content"] or "nothing")  # an answer may be empty, a word of the user's may not
    return messages[-1]["content"]


def _clean(text: str) -> str:
    """Raises InputError for what no core can read."""
    text = text.strip()
    if not text:
        raise InputError("the text is empty: give something to learn or to ask")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the text is not valid Unicode ({error.reason}): decode it with its own encoding") from error
    if "\0" in text:
        raise InputError("the text holds a NUL character, so it is probably a binary file: give plain text")
    return text


def _as_answer(text: str, reading: Reading, bare: int) -> Answer:
    """``bare``: how many tokens the prompt has without memory."""
    return Answer(
        text,
        tuple(Read(hit.episode, hit.score, hit.through) for hit in reading.hits),
        (*(e.delta.name for e in reading.experts), *([reading.skill.delta.name] if reading.skill else [])),
        reading.fast,
        len(reading.row.prompt),
        len(reading.row.prompt) - bare,
    )
