"""`fastslow ask`: one question, or one a line from standard input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastslow.cli import options, output, session, sources
from fastslow.errors import InputError

if TYPE_CHECKING:
    from fastslow.learner import Answer

EXAMPLE = "Example: fastslow ask 'When does Kestrel launch?'   (fastslow ask - reads one question a line)"


def ask(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question, or - for one a line of stdin.")],
    max_tokens: options.MaxTokens = None,
    bare: Annotated[bool, typer.Option("--bare", help="Ask the core alone, with all memory off.")] = False,
    home: options.Home = None,
    core: options.CoreName = None,
    as_json: options.Json = False,
) -> None:
    """Ask a question. The answer comes from memory where something learned fits it."""
    chosen = session.settings(home=home, core=core, max_tokens=max_tokens)
    many = question == "-"
    questions = [line for line in iter(sources.next_line, None) if line] if many else [question.strip()]
    if not all(questions) or not questions:
        raise InputError("there is no question: give one in quotes, or - and one a line on standard input")
    found = []
    with session.open_learner(chosen) as learner:
        for text in questions:
            if bare:
                with learner.memory_off():
                    answer = learner.ask(text, max_tokens=chosen.max_tokens)
            else:
                answer = learner.ask(text, max_tokens=chosen.max_tokens)
            found.append(as_dict(text, answer))
            if not as_json:
                output.emit_text(output.clip(answer.text, 10_000) if many else answer.text)
                output.note(describe(answer))
    if as_json:
        output.emit_json(found if many else found[0])


def as_dict(question: str, answer: Answer) -> dict[str, Any]:
    """The JSON form of one answer."""
    details = {name: value for name, value in output.plain(answer).items() if name != "text"}
    return {"question": question, "answer": answer.text, **details}


def describe(answer: Answer) -> str:
    """One line on where an answer came from."""
    read = [f"{hit.episode} ({hit.score:.2f})" for hit in answer.hits]
    parts = [f"read {', '.join(read)}"] if read else []
    parts += [f"slow expert {name}" for name in answer.experts]
    parts += ["fast weights"] if answer.fast else []
    return "from memory: " + "; ".join(parts) if parts else "from the bare core: nothing learned fits the question"
