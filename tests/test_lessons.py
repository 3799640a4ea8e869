"""Lessons on the same pages share a row: the loss and its gradient are those of rows of their own."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastslow.core import Core, Delta
from fastslow.decode import LONG
from fastslow.lessons import Lesson, answer_loss, make_lesson
from fastslow.medium.reader import new_adapter

ASKED = (("When was the institute founded?", "1721."), ("Where does Mira live?", "In Tolvar."), ("And who?", "Mira."))


def gradients(core: Core, adapter: Delta, lessons: list[Lesson]) -> tuple[float, list[Tensor]]:
    with core.using([adapter], merge=False):
        loss = answer_loss(core, lessons)
        found = torch.autograd.grad(loss, list(adapter.parameters()))
    return float(loss.detach()), list(found)


@pytest.mark.parametrize("prefixed", [True, False])
def test_a_branch_gives_the_loss_and_the_gradient_of_a_row_of_its_own(
    tiny_core_folders: Path, prefixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = Core.load(str(tiny_core_folders), dtype=torch.float32)
    if not prefixed:
        monkeypatch.setattr(core, "prompt", core.encode)  # prompts that begin differently share no beginning
    pages = (core.hidden("The founding year of the institute is 1721."), core.hidden("Mira lives in Tolvar. " * 20))
    assert len(pages[0]) <= LONG < len(pages[1])  # a page that sees itself wholly is among them
    shared = [make_lesson(core, question, answer, pages) for question, answer in ASKED]
    shared = [Lesson(x.prompt, x.answer, pages) for x in shared] + [make_lesson(core, "Alone?", "Yes.")]
    apart = [Lesson(x.prompt, x.answer, (*x.pages,)) for x in shared]
    assert len({id(x.pages) for x in shared}) == 2 and len({id(x.pages) for x in apart}) == 4
    adapter = new_adapter(core, 2, 1, 0)
    for b in list(adapter.parameters())[1::2]:
        torch.nn.init.normal_(b, std=0.1)
    loss, found = gradients(core, adapter, shared)
    wanted, reference = gradients(core, adapter, apart)
    assert loss == pytest.approx(wanted, rel=1e-5)
    for a, b in zip(found, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)
