"""Kernel times from measurement: counts of what a kernel's loops do (its terms) times fitted seconds for each.

The fit minimises the relative error, not the absolute one, so that small kernels count as much as big ones, and no coefficient
is negative (Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23: non-negative least squares).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from graph.record import record
from hw.device import Device
from hw.errors import HwError, StaleProfile
from hw.gpu_profile import AnyProfile
from hw.kernels.record import KERNELS, VENDOR, Call
from hw.profile import AGAIN, Coefficients


@record
class Fit:
    """Result of `fit`.

    Parameters
    ----------
    coefficients : term -> seconds for one of it, never negative.
    residuals : fitted / measured - 1 of each row.
    unseen : likewise, each row priced by the fit of all others.
    terms : names, in the order of first appearance.
    """

    coefficients: Mapping[str, float]
    residuals: tuple[float, ...]
    unseen: tuple[float, ...]
    terms: tuple[str, ...]

    @property
    def record(self) -> Coefficients:
        """As a profile keeps it."""
        return Coefficients(seconds_per=self.coefficients, residuals=self.residuals, unseen=self.unseen)


def fit(rows: Sequence[Mapping[str, float]], seconds: Sequence[float]) -> Fit:
    """Coefficients c >= 0 that minimise the sum of (rows @ c / seconds - 1) squared.

    Parameters
    ----------
    rows : terms of each measurement; a term that a row lacks is 0.
    seconds : what was measured, above 0.

    Raises
    ------
    HwError
        Lengths differ, nothing was measured, or a count or time is not a usable number.
    """
    if len(rows) != len(seconds) or not rows:
        raise HwError(f"a fit needs as many times as rows and at least one, got {len(rows)} rows and {len(seconds)} times")
    terms = tuple(dict.fromkeys(t for r in rows for t in r))
    a = np.array([[float(r.get(t, 0.0)) for t in terms] for r in rows])
    t = np.array(seconds, dtype=float)
    if not (np.isfinite(a).all() and (a >= 0).all() and np.isfinite(t).all() and (t > 0).all()):
        raise HwError("a fit needs counts that are not negative and times above 0, all finite")
    relative = a / t[:, None]
    solution = _solve(relative)
    residuals = relative @ solution - 1.0
    others = [np.arange(len(t)) != k for k in range(len(t))]
    unseen = [relative[k] @ _solve(relative[keep]) - 1.0 for k, keep in enumerate(others)] if len(t) > 1 else []
    return Fit(
        coefficients={n: float(c) for n, c in zip(terms, solution, strict=True)},
        residuals=tuple(float(r) for r in residuals),
        unseen=tuple(float(r) for r in unseen),
        terms=terms,
    )


def _solve(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative coefficients for which every row of counts per second comes nearest to 1; 0 for a term that no row has."""
    from scipy.optimize import nnls

    scale = np.linalg.norm(relative, axis=0)
    used = scale > 0
    solution = np.zeros(relative.shape[1])
    if used.any():
        solution[used] = nnls(relative[:, used] / scale[used], np.ones(len(relative)))[0] / scale[used]
    return solution


def predict(terms: Mapping[str, float], coefficients: Mapping[str, float]) -> float:
    """Seconds: the sum of count x coefficient. Raises `HwError` for a term that was never fitted."""
    unknown = [t for t, n in terms.items() if n and t not in coefficients]
    if unknown:
        raise HwError(f"no coefficient for {', '.join(unknown)}; fitted are {', '.join(coefficients) or 'none'}; {AGAIN}")
    return float(sum(n * coefficients.get(t, 0.0) for t, n in terms.items()))


class CalibratedModel:
    """Cost model of a calibrated host or GPU.

    Parameters
    ----------
    profile : what calibration found.
    """

    name = "calibrated"

    def __init__(self, profile: AnyProfile) -> None:
        self.profile = profile

    def _coefficients(self, kernel: str, busy: int) -> Coefficients:
        if kernel not in self.profile.kernels:
            why = ", where its library is installed" if kernel.endswith(f".{VENDOR}") else ""
            raise StaleProfile(
                f"kernel {kernel!r} is not in the calibration profile of {self.profile.created}; {self.profile.again}{why}"
            )
        return self.profile.kernels[kernel].at(busy)

    def seconds(self, call: Call, *, busy: int = 1, touched: int | None = None) -> float:
        """Seconds of a call; `busy` above what was measured is taken as the most that was. `touched` by the step, in bytes."""
        found = self._coefficients(call.kernel, busy)
        try:
            return predict(KERNELS[call.kernel].terms(call.types, call.attrs), found.of_step(touched))
        except HwError as e:
            raise HwError(f"kernel {call.kernel!r}: {e}") from None

    def spread(self, call: Call) -> float:
        """Relative error to expect of `seconds`, from the residuals of the fit with one core busy."""
        return self._coefficients(call.kernel, 1).spread

    def shared_spread(self, call: Call) -> float:
        """What all kernels share: the host's speed changes from one moment to another, and a step finds its caches in a state
        somewhere between the two that were calibrated, half of whose distance counts as one standard deviation.
        """
        return math.hypot(self.profile.repeat, (1 - self._coefficients(call.kernel, 1).small) / 2)


def calibrated_model(device: Device, profile: AnyProfile | None) -> CalibratedModel:
    """The model of a host core or a GPU; raises `HwError` without a profile."""
    if profile is None:
        raise HwError(f"device {device.name!r} is priced by measurement, but this host has no calibration profile; {AGAIN}")
    return CalibratedModel(profile)
