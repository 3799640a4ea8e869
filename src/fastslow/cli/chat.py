"""`fastslow chat`: a conversation in which every turn is durable."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from fastslow.cli import ask, options, output, session, sources

if TYPE_CHECKING:
    from fastslow.learner import Learner

EXAMPLE = "Example: fastslow chat   (or: echo 'My name is Ada.' | fastslow chat)"
HELP = """\
/help          this list
/forget-last   forget the last turn
/status        what the memories hold
/quit          leave (so does the end of input)"""


def chat(
    max_tokens: options.MaxTokens = None,
    home: options.Home = None,
    core: options.CoreName = None,
    as_json: options.Json = False,
) -> None:
    """Talk. What is said changes the fast weights and stays after you leave."""
    chosen = session.settings(home=home, core=core, chat_max_tokens=max_tokens)
    with session.open_learner(chosen, create=True) as learner:
        if _interactive():
            output.note(f"{chosen.core}, home {output.short_path(chosen.home)}; /help lists the commands, /quit leaves")
        turns = Conversation(learner, chosen.chat_max_tokens, as_json)
        while (line := _line()) is not None and line != "/quit":
            if line:
                turns.take(line)
    if as_json:
        output.emit_json(turns.log)


class Conversation:
    """The messages so far, and for each turn the episodes that it wrote."""

    def __init__(self, learner: Learner, max_tokens: int, as_json: bool) -> None:
        self.learner, self.max_tokens, self.as_json = learner, max_tokens, as_json
        self.messages: list[dict[str, str]] = []
        self.written: list[list[str]] = []
        self.log: list[dict[str, object]] = []

    def take(self, line: str) -> None:
        """Do what one line of the user says."""
        commands = {"/help": lambda: HELP, "/forget-last": self.forget_last, "/status": self.status}
        if line in commands:
            self._say(line, commands[line]())
        elif line.startswith("/"):
            self._say(line, f"there is no command {line.split()[0]}; /help lists them")
        else:
            self._turn(line)

    def _turn(self, line: str) -> None:
        before = {episode.id for episode in self.learner.history()}
        self.messages.append({"role": "user", "content": line})
        answer = self.learner.chat(self.messages, max_tokens=self.max_tokens)
        self.messages.append({"role": "assistant", "content": answer.text})
        # the turn itself, and what it taught; an episode that it only repeated was there before and stays
        turn = list(self.learner.home.log.events(["turn"]))[-1]
        new = [name for name in turn.payload["episodes"] if name not in before]
        self.written.append([name for name in (turn.episode, *new) if name])
        self.log.append(ask.as_dict(line, answer))
        if not self.as_json:
            output.emit_text(answer.text)
            if _interactive():
                output.note(ask.describe(answer))

    def forget_last(self) -> str:
        if not self.written:
            return "there is no turn to forget"
        written = self.written.pop()
        del self.messages[-2:]
        self.learner.forget(*written)
        taught = f" and the {output.number(len(written) - 1, 'episode')} that it wrote" if written[1:] else ""
        return f"forgot the last turn{taught}"

    def status(self) -> str:
        now = self.learner.status()
        held = f"{output.number(now.episodes, 'episode')}, {output.number(int(now.fast['tokens']), 'token')} streamed"
        return f"{held}, {output.size(now.size_bytes)} in {output.short_path(now.home)}"

    def _say(self, line: str, text: str) -> None:
        self.log.append({"command": line, "output": text})
        if not self.as_json:
            output.emit_text(text)


def _interactive() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _line() -> str | None:
    """The next line of the user, or None at the end."""
    if _interactive():
        import readline  # noqa: F401 (gives `input` its editing keys)

        try:
            return input("you> ").strip()
        except EOFError:
            print()
            return None
    return sources.next_line()
