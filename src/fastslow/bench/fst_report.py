"""What `fastslow bench fst` says: its tables and its picture."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from statistics import mean
from typing import TYPE_CHECKING, Any

from fastslow.bench import experiment

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def text(result: dict[str, Any]) -> str:
    told, settings, prefix = result["summary"], result["settings"], result["prefixes"]
    config, tasks = settings["config"], settings["tasks"]
    parts = [
        f"""# Fast-slow training, tier {settings["tier"]}

`fastslow bench fst --tier {settings["tier"]} --json docs/results/fst-{settings["tier"]}.json`: {settings["about"]},
seeds {", ".join(map(str, settings["seeds"]))}, {settings["steps"]} steps of {config["problems"]} problems with
{config["group"]} rollouts each, judged every {settings["every"]} steps on {settings["judged"]} problems drawn for that
({settings["asked before"]:.0%} ask what a problem of the training asks too) with {settings["samples"]} answers each
(mean@{settings["samples"]}). The rate {config["rate"]:g} is the same for all and was
chosen on RL alone. The task: {tasks["first"]}.

{_arms(told, result)}

The first three columns are what is right at the end: under the best context, in the mean of all and under none.
*Sooner* is how many times fewer problems, or rollouts with those of the fast phase, take an arm to what RL's best
point earns: the mean over seeds, and where 90 % of the means of samples of the seeds lie. A problem counts when a cycle
looks at it. *Reach it*: seeds that do. Asymptote: the end of a sigmoid fitted to the mean curve, - where none fits.

## What it costs, and what it leaves

{_costs(told, result)}

## Where the gain is

{_quadrants(result)}
"""
    ]
    if told["stream"]:
        stages = [tasks[name] for name in settings["stages"]]
        parts.append(
            f"""## A stream of three tasks

What is right at the end of a stage, by the best that either arm had in that stage. Nothing says that the task changes.

{experiment.table(["arm", *stages], _stream_rows(told))}
"""
        )
    parts.append(
        f"""Sharing prefixes: a step of the speller takes {prefix["shared"]:.2f} s instead of {prefix["whole"]:.2f} s
({prefix["whole"] / prefix["shared"]:.1f} times less); the gradients are {prefix["apart"]:.0e} apart, relative.
The whole took {result["seconds"] / 60:.0f} minutes on two cores.
"""
    )
    return "\n".join(parts)


def _arms(told: dict[str, Any], result: dict[str, Any]) -> str:
    rows = []
    for arm, reached in told["reached"].items():
        there = [n for n, point in enumerate(reached) if point]
        sooner = ["-", "-"]
        if len(there) == len(reached):
            by = told["reached"]["RL"]
            sooner = [interval([by[n][unit] / reached[n][unit] for n in there]) for unit in ("problems", "rollouts")]
        end = told["asymptote"][arm]
        last = [each["points"][-1] for each in result["life"][arm]]
        right = [f"{mean(point[context] for point in last):.3f}" for context in ("best", "mean", "none")]
        seconds = f"{mean(point['seconds'] for point in last):.0f}"
        asymptote = "-" if end is None else f"{end:.3f}"
        rows.append([arm, *right, f"{len(there)} of {len(reached)}", *sooner, asymptote, seconds])
    header = ["arm", "best", "mean", "none", "reach it", "sooner, problems", "sooner, rollouts", "asymptote", "CPU s"]
    return experiment.table(header, rows)


def _costs(told: dict[str, Any], result: dict[str, Any]) -> str:
    settings = result["settings"]
    both = [(rl, fst) for rl, fst in zip(told["reached"]["RL"], told["reached"]["FST"], strict=True) if fst is not None]
    rows: list[list[object]] = []
    if both:
        rl, none, best = (
            mean(pair[arm][name] for pair in both) for arm, name in ((0, "kl_none"), (1, "kl_none"), (1, "kl_best"))
        )
        seeds = f"{len(both)} of {len(settings['seeds'])} seeds"
        rows.append([f"KL to the start where RL's best is reached, nats a token ({seeds})", f"{none:.4f}", f"{rl:.4f}"])
        rows.append(["the same, FST under its best context", f"{best:.4f}", f"{rl:.4f}"])
        alone = [f"{mean(pair[arm]['none'] for pair in both):.3f}" for arm in (1, 0)]
        rows.append(["what is right there without a context", *alone])
    last = {arm: [each["points"][-1] for each in result["life"][arm]] for arm in ("FST", "RL")}
    rows.append(["KL to the start at the end", *(f"{mean(p['kl_none'] for p in last[arm]):.4f}" for arm in last)])
    if told["left zero"]:
        total = settings["steps"] * settings["config"]["problems"]
        zero = {
            arm: ", ".join(str(point["problems"]) if point else f"> {total}" for point in each)
            for arm, each in told["left zero"].items()
        }
        rows.append([f"problems of {settings['tasks']['zero']} until a tenth is right", zero["FST"], zero["RL"]])
    second = {arm: interval(each) for arm, each in told["second"].items()}
    if second:
        rows.append(
            [f"{settings['tasks']['second']} by fresh RL; untouched: {second['none']}", second["FST"], second["RL"]]
        )
    return experiment.table(["", "FST", "RL"], rows)


def _quadrants(result: dict[str, Any]) -> str:
    fst, rl = ([each["alone"] for each in result["life"][arm]] for arm in ("FST", "RL"))

    def told(found: Sequence[dict[str, float]], name: str) -> str:
        return f"{mean(each[name] for each in found):.3f}"

    rows = [
        ["start", told(fst, "start"), told(fst, "start, best context")],
        ["trained with contexts (FST)", told(fst, "trained"), told(fst, "trained, best context")],
        ["trained alone (RL)", told(rl, "trained"), "-"],
    ]
    return experiment.table(["weights", "no context", "FST's best context"], rows)


def _stream_rows(told: dict[str, Any]) -> list[list[str]]:
    return [
        [arm, *(f"{mean(each[stage] for each in seeds):.2f}" for stage in range(len(seeds[0])))]
        for arm, seeds in told["stream"].items()
    ]


def draw(figure: Figure, result: dict[str, Any]) -> None:
    left, middle, right = figure.subplots(1, 3, gridspec_kw={"width_ratios": [3, 2, 3]})
    for arm, found in result["life"].items():
        if arm == "none":
            continue
        curves = [each["points"] for each in found]
        style = {"linewidth": 2.2} if arm in ("FST", "RL") else {"linewidth": 1.0}
        left.plot([p["rollouts"] for p in curves[0]], _mean(curves, "best"), label=arm, **style)
        if arm in ("FST", "RL"):
            middle.plot(_mean(curves, "best"), _mean(curves, "kl_none"), label=arm, **style)
    for arm, found in result.get("stream", {}).items():
        curves = [each["points"] for each in found]
        right.plot([p["problems"] for p in curves[0]], _mean(curves, "best"), label=arm, linewidth=2.2)
    settings = result["settings"]
    for n in range(1, len(settings["stages"])):
        right.axvline(n * settings["stage"] * settings["config"]["problems"], color="0.7", linewidth=0.8)
    left.set(xlabel="rollouts, those of the fast phase too", ylabel="mean@4", ylim=(0, 1.02), title="One task")
    middle.set(xlabel="mean@4", ylabel="nats a token", title="KL to the start")
    right.set(xlabel="problems", ylim=(0, 1.02), title="Three tasks, unannounced")
    left.legend(frameon=False, fontsize=7)
    right.legend(frameon=False, fontsize=7)


def _mean(curves: Sequence[Sequence[dict[str, float]]], name: str) -> list[float]:
    return [mean(points[n][name] for points in curves) for n in range(len(curves[0]))]


def interval(values: Sequence[float]) -> str:
    """The mean, and where 90 % of the means of samples with replacement lie."""
    random = Random(0)
    means = sorted(mean(random.choices(values, k=len(values))) for _ in range(2000))
    return f"{mean(values):.2f} ({means[100]:.2f} to {means[1899]:.2f})"
