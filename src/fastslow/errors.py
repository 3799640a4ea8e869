"""The errors of fastslow. Each says what was wrong and what to do; `exit_code` is what the program exits with."""


class FastslowError(Exception):
    """The base of every error that fastslow raises on purpose."""

    exit_code = 1


class InputError(FastslowError):
    """The user gave something that cannot be used."""

    exit_code = 2


class StoreError(FastslowError):
    """A file of the home could not be written, or what was read from it is damaged."""

    exit_code = 3


class HomeInUse(FastslowError):
    """Another process owns the home."""

    exit_code = 4


class HomeMismatch(FastslowError):
    """The folder is not a home, or the home belongs to another core or to a newer fastslow."""

    exit_code = 5


class CoreError(FastslowError):
    """The core could not be loaded or does not offer what a memory needs."""

    exit_code = 6


class UnknownEpisode(FastslowError):
    """No episode has this id."""

    exit_code = 7
