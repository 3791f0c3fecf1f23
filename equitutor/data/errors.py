"""What can go wrong with a data file. Each message is one sentence for the reader to act on."""


class DataError(RuntimeError):
    """A data set can't be used; the three kinds below say why."""


class DownloadError(DataError):
    """A file is neither on this machine nor could it be fetched and stored."""


class ChecksumError(DataError):
    """A file is not the published one; the message holds the expected and the found sum."""


class FormatError(DataError, ValueError):
    """A file does not hold what its format promises, or promises what is not read here."""
