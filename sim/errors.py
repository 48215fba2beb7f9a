"""What can go wrong in `sim`."""


class SimError(Exception):
    """Base of every error that `sim` raises on purpose."""


class OutOfMemory(SimError):
    """A rank needs more memory than its device has."""


class Stuck(SimError):
    """A plan stopped before its programs ended: some action waits for what never comes."""
