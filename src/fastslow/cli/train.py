"""`fastslow train`: a small model of one's own, with any memory in each block, on a text or an invented world; or a
core that gets better at a task with a verifier, by contexts and weights together or by either alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from fastslow.cli import options, output, session
from fastslow.errors import InputError

if TYPE_CHECKING:
    from fastslow.slow.fast_slow import FastSlowTrainer, StepReport

SPELLER, GATED = "speller", 40  # a core without a learner; questions that a skill's gate is fitted on
RATE = 1e-3  # of the weights, chosen on reinforcement alone
LOST = 0.05  # what distilling may lose of what is right
BARS = " ▁▂▃▄▅▆▇█"


class Group(TyperGroup):
    """`fastslow train notes.txt` is `fastslow train decoder notes.txt`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help", "-h"):
            args = ["decoder", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="train",
    cls=Group,
    no_args_is_help=True,
    help="Train a small decoder on a text (fastslow train notes.txt), or a core on a task with a verifier.",
)


@app.command(epilog="Example: fastslow train decoder notes.txt --blocks gated_delta_net,attention --out ./my-decoder")
def decoder(
    paths: Annotated[list[str] | None, typer.Argument(metavar="[PATH]...", help="Text files, folders, or -.")] = None,
    world: Annotated[
        int | None, typer.Option("--world", metavar="SEED", help="Train on an invented world instead of a text.")
    ] = None,
    blocks: Annotated[
        str, typer.Option(metavar="NAMES", help="The memory of each block, separated by commas.")
    ] = "gated_delta_net,gated_delta_net",
    width: Annotated[int, typer.Option(metavar="D", min=2, help="Width of the stream.")] = 128,
    heads: Annotated[int, typer.Option(metavar="H", min=1, help="Heads of each memory.")] = 4,
    chunk: Annotated[int, typer.Option(metavar="C", min=1, help="Tokens that a memory takes at once.")] = 32,
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Training steps.")] = 1000,
    batch: Annotated[int, typer.Option(metavar="B", min=1, help="Windows of a step.")] = 8,
    window: Annotated[int, typer.Option(metavar="T", min=1, help="Bytes of a window.")] = 256,
    rate: Annotated[float, typer.Option(metavar="R", help="Highest learning rate.")] = 3e-3,
    seed: Annotated[int, typer.Option(metavar="S", min=0, help="Decides the start and the order.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Keep the model here; go on if it was cut off.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Train a small byte-level decoder and report the bits per byte of text that it has not seen."""
    from fastslow.fast.frame import LayerConfig
    from fastslow.models import training
    from fastslow.models.decoder import DecoderConfig

    if bool(paths) == (world is not None):
        raise InputError("give either text (files, folders or -) or --world SEED")
    if width % heads or width // heads % 2:
        raise InputError(f"a width of {width} does not make {heads} heads of one even size")
    layer = LayerConfig(width, heads, width // heads, width // heads, chunk=chunk)
    config = DecoderConfig(training.BYTES, tuple(n.strip() for n in blocks.split(",")), layer, hidden=2 * width)
    recipe = training.TrainingRecipe(steps=steps, batch=batch, window=window, rate=rate, seed=seed)
    tokens = training.as_tokens(_text(paths or [], world))
    training.parts(tokens, recipe)  # too short a text is refused before a bar is drawn
    with output.bars() as progress, output.stop_on_interrupt() as stop:
        move = output.phases(progress)
        made, report = training.train(
            config,
            tokens,
            recipe,
            folder=out,
            progress=lambda step, total, loss: move("training", step, total, loss),
            stop=stop.is_set,
        )
    parameters = sum(p.numel() for p in made.parameters())
    if report.steps < steps:
        again = "the same command goes on" if out else "give --out to be able to go on"
        raise output.Failure(f"stopped after {report.steps} of {steps} steps: {again}", output.STOPPED)
    if as_json:
        output.emit_json({**output.plain(report), "parameters": parameters, "blocks": config.blocks, "folder": out})
        return
    table = output.table("blocks", "parameters", "steps", "bits per byte, untrained", "trained", right=("parameters",))
    bits = (f"{report.bits_before:.2f}", f"{report.bits:.2f}")
    table.add_row(", ".join(config.blocks), f"{parameters:,}", str(steps), *bits)
    output.out().print(table)
    if out:
        output.emit_text(f"kept in {output.short_path(out)}")


def _text(paths: list[str], world: int | None) -> str:
    from fastslow.cli import sources
    from fastslow.worlds.invented import World

    if world is None:
        return "\n\n".join(source.read() for source in sources.collect(paths, "utf-8", False))
    return "\n".join(event.text for event in World.make(world, 400, "train").events)


Task = Annotated[
    str,
    typer.Option("--task", metavar="NAME", help="cipher, sums, or a dataset of reasoning-gym such as leg_counting."),
]
Steps = Annotated[int, typer.Option(metavar="N", min=1, help="Steps in all.")]
Rate = Annotated[float | None, typer.Option(metavar="R", help="Learning rate of the weights.", show_default=False)]
Contexts = Annotated[int, typer.Option(metavar="K", min=1, help="Contexts that are kept.")]
Rollouts = Annotated[int, typer.Option("--group", metavar="G", min=1, help="Rollouts of a problem, over all contexts.")]
Problems = Annotated[int, typer.Option(metavar="B", min=1, help="Problems of a step.")]
Cycle = Annotated[int, typer.Option("--cycle", metavar="T", min=1, help="Steps between two evolutions of contexts.")]
Reflector = Annotated[
    str | None,
    typer.Option("--reflector", metavar="URL", help="Let a language model at an OpenAI-compatible URL write contexts."),
]
ReflectorModel = Annotated[str, typer.Option("--reflector-model", metavar="NAME", help="Its name there.")]
SeedOption = Annotated[int, typer.Option("--seed", metavar="S", min=0, help="Decides everything that is drawn.")]


@app.command(epilog="Example: fastslow train fst --task letter_counting --steps 36")
def fst(
    task: Task,
    core: options.CoreName = None,
    home: options.Home = None,
    steps: Steps = 60,
    rate: Rate = None,
    contexts: Contexts = 4,
    group: Rollouts = 8,
    problems: Problems = 8,
    cycle: Cycle = 6,
    reflector: Reflector = None,
    reflector_model: ReflectorModel = "default",
    seed: SeedOption = 0,
    as_json: options.Json = False,
) -> None:
    """Contexts and weights together (Fast-Slow Training). The same command goes on with what was stopped."""
    changes = {"contexts": contexts, "group": group, "problems": problems, "cycle_steps": cycle, "seed": seed}
    _learn("fst", task, core, home, steps, rate, changes, as_json, _reflector(reflector, reflector_model))


@app.command(epilog="Example: fastslow train rl --task chain_sum --steps 36")
def rl(
    task: Task,
    core: options.CoreName = None,
    home: options.Home = None,
    steps: Steps = 60,
    rate: Rate = None,
    group: Rollouts = 8,
    problems: Problems = 8,
    seed: SeedOption = 0,
    as_json: options.Json = False,
) -> None:
    """Weights alone, by reinforcement. The same command goes on with what was stopped."""
    changes = {"evolve": False, "contexts": 1, "group": group, "problems": problems, "seed": seed}
    _learn("rl", task, core, home, steps, rate, changes, as_json)


@app.command(epilog="Example: fastslow train context --task letter_counting --steps 36")
def context(
    task: Task,
    core: options.CoreName = None,
    home: options.Home = None,
    steps: Steps = 60,
    contexts: Contexts = 4,
    problems: Problems = 8,
    cycle: Cycle = 6,
    reflector: Reflector = None,
    reflector_model: ReflectorModel = "default",
    seed: SeedOption = 0,
    as_json: options.Json = False,
) -> None:
    """Contexts alone: the weights stay. The same command goes on with what was stopped."""
    changes = {"learn": False, "contexts": contexts, "group": contexts, "problems": problems, "cycle_steps": cycle}
    writer = _reflector(reflector, reflector_model)
    _learn("context", task, core, home, steps, None, {**changes, "seed": seed}, as_json, writer)


@app.command(epilog="Example: fastslow train distill --task letter_counting --steps 20")
def distill(
    task: Task,
    core: options.CoreName = None,
    home: options.Home = None,
    steps: Steps = 20,
    rate: Rate = None,
    group: Rollouts = 8,
    problems: Problems = 8,
    seed: SeedOption = 0,
    as_json: options.Json = False,
) -> None:
    """Move the context of a learned skill into its weights; kept where at most 5 in 100 answers are lost by it."""
    from fastslow.slow.contexts import Context
    from fastslow.slow.core_policy import Asked, CorePolicy
    from fastslow.slow.distill import distill
    from fastslow.slow.fast_slow import FSTConfig, mean_at
    from fastslow.slow.skills import Skill
    from fastslow.worlds import named

    chosen, asked = session.settings(core=core, home=home), named.task(task)
    config = FSTConfig(problems=problems, group=group, contexts=1, rate=rate or RATE, seed=seed)
    with session.open_learner(chosen) as learner:
        skill = learner.tiers.skills.get(task)
        if skill is None:
            raise InputError(f"{chosen.home} has no skill {task!r}: learn it first (fastslow train fst --task {task})")
        policy = CorePolicy(learner.core, delta=skill.delta).copy()
        with output.bars() as progress:
            bar = progress.add_task("judging on problems drawn anew", total=steps)
            told = mean_at(policy, Asked, asked, skill.contexts[0])
            distill(
                policy,
                asked,
                Asked,
                skill.contexts[0],
                steps=steps,
                config=config,
                progress=lambda report: progress.update(bar, completed=report.step, description="distilling"),
            )
            alone = mean_at(policy, Asked, asked, Context())
        if kept := alone >= told - LOST:
            about = {**skill.about, "distilled": {"steps": steps, "with context": told, "alone": alone}}
            contexts = [Context(), *skill.contexts]
            learner.adopt(Skill.make(learner.core, task, contexts, policy.delta, _questions(asked), about))
    said = {"task": task, "with context, before": told, "without, after": alone, "kept": kept}
    if as_json:
        output.emit_json(said)
        return
    table = output.table("task", "right with its context", "without, after", "kept")
    table.add_row(task, f"{told:.2f}", f"{alone:.2f}", "yes" if kept else "no: the skill stays as it was")
    output.out().print(table)


def _learn(
    method: str,
    task: str,
    core: str | None,
    home: Path | None,
    steps: int,
    rate: float | None,
    changes: dict[str, Any],
    as_json: bool,
    reflector: Callable[[str], str] | None = None,
) -> None:
    from fastslow.models import speller
    from fastslow.slow.core_policy import CorePolicy
    from fastslow.slow.evolver import ItemEvolver
    from fastslow.slow.fast_slow import BUDGET, FastSlowTrainer, FSTConfig
    from fastslow.slow.gepa import GepaEvolver
    from fastslow.slow.skills import Skill
    from fastslow.store import io
    from fastslow.worlds import ciphers, named

    chosen, problems = session.settings(core=None if core == SPELLER else core, home=home), named.task(task)
    problems.problem(0)  # a task that there is not is refused before a core is loaded
    config = FSTConfig(rate=rate or RATE, **changes)
    settings = sha256(repr((core, reflector is None, config)).encode()).hexdigest()[:8]
    folder = chosen.home / "training" / f"{task}-{method}-{settings}"
    budget = ciphers.WIDTH if core == SPELLER else BUDGET
    written = GepaEvolver(reflector, budget) if reflector else None
    if core == SPELLER:
        io.make_dir(chosen.home, private=True)  # as a learner makes it, which may come later
        evolver = written or ItemEvolver(budget, shown="{question}>{answer}")
        small = FastSlowTrainer(speller.load(), problems, config, prompt=speller.prompt, evolver=evolver)
        _show(small, _trained(small, method, steps, folder), folder, as_json)
        return
    with session.open_learner(chosen, create=True) as learner:
        policy = CorePolicy(learner.core, seed=config.seed)
        trainer = FastSlowTrainer(policy, problems, config, evolver=written)
        about = _trained(trainer, method, steps, folder)
        learner.adopt(Skill.make(learner.core, task, trainer.contexts, policy.delta, _questions(problems), about))
    _show(trainer, about, folder, as_json)
    if not as_json:
        output.emit_text(f"fastslow ask uses it where a question is like the task's: {output.short_path(chosen.home)}")


def _reflector(url: str | None, model: str) -> Callable[[str], str] | None:
    """The key, where the endpoint wants one, stands in OPENAI_API_KEY."""
    from fastslow.slow.gepa import OpenAIReflector

    return OpenAIReflector(url, model, os.environ.get("OPENAI_API_KEY", "")) if url else None


def _questions(task: Any) -> list[str]:
    """What the gate of a skill is fitted on."""
    return [task.problem(index).question for index in range(GATED)]


def _trained(trainer: FastSlowTrainer, method: str, steps: int, folder: Path) -> dict[str, Any]:
    """Train with a bar that shows the rewards so far; what was right before and after."""
    from fastslow.slow.contexts import Context
    from fastslow.slow.fast_slow import mean_at

    with output.bars() as progress, output.stop_on_interrupt() as stop:
        bar = progress.add_task(f"{method} on {trainer.task.name}", total=steps)

        def move(report: StepReport) -> None:
            rewards = [each.reward for each in trainer.reports[-24:]]
            curve = "".join(BARS[round(8 * reward)] for reward in rewards)
            progress.update(bar, completed=report.step, description=f"reward {report.reward:.2f} {curve}")

        trainer.run(steps, folder=folder, progress=move, stop=stop.is_set)
        if trainer.step < steps:
            message = f"stopped after {trainer.step} of {steps} steps: the same command goes on"
            raise output.Failure(message, output.STOPPED)
        progress.add_task("judging on problems drawn anew", total=None)
        before = mean_at(trainer.base, trainer.prompt, trainer.task, Context())
        after = mean_at(trainer.policy, trainer.prompt, trainer.task, trainer.contexts[0])
    last = trainer.reports[-1]
    return {
        "method": method,
        "steps": last.step,
        "rollouts": last.slow_rollouts + last.fast_rollouts,
        "before": before,
        "after": after,
        "failed": dict(trainer.judge.failed),
        "reflector failed": dict(getattr(trainer.evolver, "failed", {})),
    }


def _show(trainer: FastSlowTrainer, about: dict[str, Any], folder: Path, as_json: bool) -> None:
    if as_json:
        contexts = [context.to_dict() for context in trainer.contexts]
        output.emit_json({"task": trainer.task.name, **about, "contexts": contexts, "folder": folder})
        return
    table = output.table("task", "method", "steps", "rollouts", "right before", "after", right=("steps", "rollouts"))
    right = [f"{about[when]:.2f}" for when in ("before", "after")]
    table.add_row(trainer.task.name, about["method"], str(about["steps"]), f"{about['rollouts']:,}", *right)
    output.out().print(table)
    for line in trainer.contexts[0].lines():
        output.emit_text(f"  {line}")
    for who, failed in (("verifier", about["failed"]), ("reflector", about["reflector failed"])):
        for reason, count in failed.items():
            output.emit_text(f"the {who} failed {output.number(count, 'time')}: {reason}")
    output.emit_text(f"kept in {output.short_path(folder)}")
