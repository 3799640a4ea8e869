"""Episodes: strength, restating, fading, and which records a question reads."""

from pathlib import Path

import pytest
import torch

from fastslow.core import Core
from fastslow.medium.episodes import DAY, Episodes, RecallConfig, Record, saying
from fastslow.medium.router import RouterWeights

MONTH = 30 * DAY


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return Core.load(str(tiny_core_folder), dtype=torch.float32)


def taught(core: Core, *texts: str, config: RecallConfig | None = None, threshold: float = 0.6) -> Episodes:
    episodes = Episodes(core, RouterWeights.untrained(core.width, threshold), config)
    for n, text in enumerate(texts):
        episodes.add(f"e{n}", episodes.write(text), n, 0.0)
    return episodes


def strength(episodes: Episodes, name: str, now: float) -> float:
    return episodes.records[name].strength(now, episodes.config.half_life)


def names(episodes: Episodes, question: str) -> list[str]:
    return [hit.episode for hit in episodes.select(episodes.question(question))]


# ---------------------------------------------------------------------- strength


def test_strength_halves_after_each_half_life_without_use(core: Core) -> None:
    episodes = taught(core, "Mira lives in Tolvar.")
    assert [strength(episodes, "e0", n * MONTH) for n in (0, 1, 2)] == [1.0, 0.5, 0.25]
    assert strength(episodes, "e0", -DAY) == 1.0  # a clock that was set back


def test_a_use_restores_strength_and_doubles_the_half_life(core: Core) -> None:
    episodes = taught(core, "Mira lives in Tolvar.")
    episodes.used("e0", MONTH)
    assert [strength(episodes, "e0", n * MONTH) for n in (1, 3, 5)] == [1.0, 0.5, 0.25]
    for _ in range(100):
        episodes.used("e0", 5 * MONTH)
    assert strength(episodes, "e0", 500 * MONTH) <= 1.0


def test_reading_does_not_make_newer_and_telling_does(core: Core) -> None:
    episodes = taught(core, "Mira lives in Tolvar.", "Mira works in Tolvar.")
    first, second = (episodes.states(episodes.records[n].page) for n in ("e0", "e1"))  # type: ignore[arg-type]
    episodes.used("e0", 5.0)
    assert torch.equal(episodes.pages(["e1", "e0"])[1], second)
    episodes.used("e0", 6.0, told=7)
    assert torch.equal(episodes.pages(["e1", "e0"])[1], first)


# ---------------------------------------------------------------------- what is the same


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("Kestrel launches in May.", "kestrel  launches in may"),
        ("The shop opens at 9.", "A shop opens at 9!"),
        ("Kestrel launches in May.", "In May, Kestrel launches."),
        ("It seats 1,200 people.", "It seats 1200 people."),
        ("The boats launched.", "The boat launches."),
        ("It weighs 3,5 kg.", "It weighs 3.5 kg."),
        ("Kestrel, *green*, sails (again)!", "Kestrel - green - sails again"),
        ("?!", "?!"),
    ],
)
def test_what_says_the_same(one: str, two: str) -> None:
    assert saying(one) == saying(two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("Kestrel launches on the 4th of May.", "Kestrel launches on the 5th of May."),
        ("Mira lives in Tolvar.", "Bo lives in Tolvar."),
        ("It costs 3.5 crowns.", "It costs 3.6 crowns."),
        ("The shop opens at 9 and closes at 5.", "The shop opens at 5 and closes at 9."),
        ("Mira loves Bo.", "Bo loves Mira."),
        ("Mira is a cook.", "A cook is Mira."),
        ("The harbour is open.", "The harbour is not open."),
        ("It rained 5 days.", "It rained 5 5 days."),
        ("Mira is the mayor of Tolvar.", "Mira was the mayor of Tolvar."),
        ("The ferry goes from Oslo to Bergen.", "The ferry goes to Oslo from Bergen."),
        ("The ticket costs $5.", "The ticket costs €5."),
        ("It weighs 3,5 mg.", "It weighs 35 mg."),
        ("It is written in C.", "It is written in C++."),
        ("Shed where load > 5.", "Shed where load < 5."),
        ("It is 5 − 3.", "It is 5 + 3."),
        ("The rent rose by 5.", "The rent rose by 5%."),
        ("On Monday 5 people came, on Tuesday 6 people came.", "5 people came on Tuesday, 6 people came on Monday."),
        ("यह पिता है", "यह पीता है"),
        ("It is 5 degrees outside.", "It is -5 degrees outside."),
        ("?!", "!?"),
    ],
)
def test_an_update_is_no_repetition(one: str, two: str) -> None:
    assert saying(one) != saying(two)


# ---------------------------------------------------------------------- fading


def bits(episodes: Episodes, name: str) -> int | None:
    page = episodes.records[name].page
    return page.numbers["bits"] if page else None


def test_what_becomes_weak_is_compressed_once_and_what_is_used_is_not(core: Core) -> None:
    episodes = taught(core, "Mira lives in Tolvar.", "Bo works at the old harbour.")
    before = episodes.records["e0"].page
    episodes.used("e1", MONTH)
    episodes.fade(2 * MONTH)  # exactly at the bound
    assert (bits(episodes, "e0"), bits(episodes, "e1")) == (8, 8)
    assert episodes.records["e0"].page is before
    episodes.fade(2.5 * MONTH)
    assert (bits(episodes, "e0"), bits(episodes, "e1")) == (4, 8)
    faded = episodes.records["e0"].page
    assert faded is not None and before is not None and faded.size_bytes() < before.size_bytes()
    assert torch.equal(faded.tensors["words"], before.tensors["words"])
    episodes.fade(3 * MONTH)
    assert episodes.records["e0"].page is faded
    assert "e0" in names(episodes, "Where does Mira live?")  # it still answers


def test_a_page_is_dropped_only_when_it_is_weak_and_asleep(core: Core) -> None:
    episodes = taught(core, "Mira lives in Tolvar.", "Bo works at the old harbour.")
    episodes.fade(20 * MONTH)
    assert bits(episodes, "e0") == 4  # weak but awake: nothing else holds it
    episodes.fall_asleep("e0")
    episodes.fade(1 * MONTH)
    assert bits(episodes, "e0") == 4
    episodes.fade(20 * MONTH)
    assert (bits(episodes, "e0"), bits(episodes, "e1")) == (None, 4)
    assert names(episodes, "Where does Mira live?")[0] == "e0"  # it is found, and its expert opens
    assert episodes.pages(["e0"]) == ()
    episodes.fade(30 * MONTH)


def test_several_levels_of_fading(core: Core) -> None:
    config = RecallConfig(bits=16, fade=((0.6, 8), (0.3, 4), (0.15, 2)))
    episodes = taught(core, "Mira lives in Tolvar.", config=config)
    found = []
    for months in (0.5, 1, 2, 3):
        episodes.fade(months * MONTH)
        found.append(bits(episodes, "e0"))
    assert found == [16, 8, 4, 2]


# ---------------------------------------------------------------------- selection


def test_records_are_independent_of_each_other(core: Core) -> None:
    alone, among = taught(core, "Mira lives in Tolvar."), taught(core, "Mira lives in Tolvar.", "Bo sleeps.")
    one, other = alone.records["e0"], among.records["e0"]
    assert one.page is not None and other.page is not None and one.page.hash() == other.page.hash()
    assert torch.equal(one.key.vectors, other.key.vectors)


def test_the_best_record_comes_first_and_the_far_ones_not_at_all(core: Core) -> None:
    episodes = taught(core, "Mira lives in Tolvar.", "Bo lives in Qoriva.", "The library opens at nine.")
    hits = episodes.select(episodes.question("Where does Bo live?"))
    assert hits[0].episode == "e1" and hits[0].through is None
    direct = [hit.score for hit in hits if hit.through is None]
    assert direct == sorted(direct, reverse=True)
    assert all(s >= max(0.6, direct[0] - episodes.config.margin) for s in direct)
    assert len({hit.episode for hit in hits}) == len(hits)


def test_the_threshold_shuts_the_gate(core: Core) -> None:
    texts = ["Mira lives in Tolvar.", "Bo works at the old harbour."]
    best = taught(core, *texts).select(taught(core).question("Where does Mira live?"))[0].score
    assert names(taught(core, *texts, threshold=best + 1e-4), "Where does Mira live?") == []
    assert names(taught(core, *texts, threshold=best - 1e-4), "Where does Mira live?") != []


def test_no_more_records_than_the_config_says(core: Core) -> None:
    texts = [f"Mira lives in house {n} in Tolvar." for n in range(20)]
    episodes = taught(core, *texts, config=RecallConfig(direct=3, hops=2, margin=1.0), threshold=0.1)
    question = episodes.question("Where does Mira live?")
    hits = episodes.select(question)
    assert len(hits) == 3 and len(episodes.onward(question, hits[0], ["house"])) == 2


def test_the_budget_bounds_the_tokens_in_sight_but_for_the_first(core: Core) -> None:
    texts = [f"Mira lives in house {n} in Tolvar." for n in range(9)]
    size = len(core.encode(texts[0]))
    for budget, count in ((3 * size, 3), (1, 1)):
        config = RecallConfig(budget=budget, margin=1.0)
        assert len(names(taught(core, *texts, config=config, threshold=0.1), "Where does Mira live?")) == count


def test_a_second_hop_reaches_what_the_first_record_points_to(core: Core) -> None:
    texts = ["Mira works for Qoriva.", "Qoriva is led by Dunsel.", "The library opens at nine."]
    episodes = taught(core, *texts, config=RecallConfig(direct=1), threshold=0.1)
    question = episodes.question("Who leads the firm that Mira works for?")
    hits = episodes.select(question)
    assert [(h.episode, h.through) for h in hits] == [("e0", None)]
    onward = episodes.onward(question, hits[0], ["Qoriva"])
    assert [(h.episode, h.through) for h in onward] == [("e1", "e0")]
    assert episodes.onward(question, hits[0], ["Dunsel", "Mira"]) == onward
    assert episodes.onward(question, hits[0], []) == episodes.onward(question, hits[0], ["Mira"]) == []


def test_nothing_is_reached_through_a_record_that_says_no_more_than_the_question(core: Core) -> None:
    episodes = taught(core, "Mira works for Qoriva.", "Qoriva is led by Dunsel.", threshold=0.1)
    question = episodes.question("Mira works for Qoriva.")
    (hit,) = [hit for hit in episodes.select(question) if hit.episode == "e0"]
    assert episodes.onward(question, hit, ["Qoriva"]) == []


def test_an_unknown_episode_is_an_error(core: Core) -> None:
    episodes = taught(core)
    for call in (lambda: episodes.used("e9", 0.0), lambda: episodes.fall_asleep("e9")):
        with pytest.raises(KeyError):
            call()


def test_records_are_frozen(core: Core) -> None:
    record: Record = taught(core, "Mira lives.").records["e0"]
    with pytest.raises(AttributeError):
        record.uses = 5  # type: ignore[misc]
