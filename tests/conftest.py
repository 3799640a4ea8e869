from pathlib import Path

import pytest
import torch
from hypothesis import settings
from tiny import SHAPES, make_tiny_core

from fastslow import cores

# Two processes share the machine, so how long one example takes says nothing.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Sums in one order: bit-exact tests must not depend on the number of cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def home_of_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may touch the user's own home. The cache of cores stays: it holds nothing that is theirs."""
    monkeypatch.setenv("FASTSLOW_HOME", str(tmp_path / "fastslow-home"))


@pytest.fixture(scope="session")
def tiny_core_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_core(tmp_path_factory.mktemp("tiny-llama"), "llama")


@pytest.fixture(scope="session", params=SHAPES)
def tiny_core_folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tiny core after the other: the test runs once for each of SHAPES."""
    return make_tiny_core(tmp_path_factory.mktemp(f"tiny-{request.param}"), request.param)


@pytest.fixture(scope="session")
def default_core_folder() -> Path:
    """The real default core, fetched where it is not cached. Only for tests marked ``core``."""
    return cores.locate(cores.DEFAULT_CORE)
