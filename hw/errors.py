"""What can go wrong in `hw`."""


class HwError(Exception):
    """Base of every error that `hw` raises on purpose."""


class DoesNotFit(HwError):
    """Something needs more memory, ranks or bandwidth than the system has."""


class StaleProfile(HwError):
    """A calibration profile was made for other kernels than those at hand."""
