"""Tasks by the names that a command takes."""

from __future__ import annotations

import re

from fastslow.errors import InputError
from fastslow.worlds.ciphers import PLACES, Cipher, Sums
from fastslow.worlds.gym import EASY, GymTask
from fastslow.worlds.tasks import Task


def task(name: str) -> Task:
    """``cipher``, ``cipher-LETTERS`` or ``cipher-LETTERS-SEED``; ``sums``; or a dataset of reasoning-gym, short where a
    short form is known.

    Raises InputError for a cipher of more letters than a question has places.
    """
    if found := re.fullmatch(r"cipher(?:-(\d+))?(?:-(\d+))?", name):
        letters, seed = int(found[1] or 2), int(found[2] or 0)
        if not 1 <= letters <= PLACES:
            raise InputError(f"{name}: a cipher asks for 1 to {PLACES} letters")
        return Cipher(seed, letters)
    return Sums() if name == "sums" else GymTask(name, EASY.get(name, {}))
