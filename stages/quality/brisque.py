"""BRISQUE scores a picture without a reference picture (Mittal, Moorthy, Bovik: IEEE TIP 21(12), 2012).

In natural pictures, pixels that are centred and scaled by their neighbourhood have near-Gaussian statistics;
distortions change these. 18 numbers at each of two scales describe the change; a support vector regression, fitted to
people's scores of blurred, noisy and compressed photos (LIVE), turns them into a score: 0 is best, 100 is worst, and
pictures that are unlike those photos may leave that range.

The support vector machine and the details of the features (luma weights, zero padding, an asymmetric fit for all five
maps) are those of the PyPI package ``brisque`` 0.2.0; the machine was fitted to these features. On 36 pictures the two
agree to 0.3, except after heavy JPEG (up to 8 apart), where the package's root finder leaves the paper's range of
shapes, 0.2 to 10.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import scipy  # its parts load when they are used

WINDOW, SIGMA = 7, 7 / 6
LUMA = np.asarray([0.2125, 0.7154, 0.0721])
STABLE = 1 / 255  #: added to the local deviation of a luma in 0-1
MIN_SIDE = 32  #: pixels; of smaller pictures the half-size version has too few pixels for a fit

_ALPHAS = np.arange(0.2, 10.001, 0.001)


class Brisque:
    """Scores pictures; ``path`` is the embedded support vector machine."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as machine:
            self._vectors = machine["vectors"].astype(np.float64)  # [n, 36]
            self._coefficients = machine["coefficients"].astype(np.float64)  # [n]
            self._low, self._high = machine["low"], machine["high"]  # [36], of the features
            self._rho, self._gamma = float(machine["rho"]), float(machine["gamma"])

    def score(self, rgb: np.ndarray) -> float | None:
        """Score a picture, uint8 [H, W, 3] RGB; None if it is flat or smaller than MIN_SIDE."""
        if min(rgb.shape[:2]) < MIN_SIDE:
            return None
        luma = rgb @ LUMA / 255
        half = cv2.resize(luma, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_CUBIC)
        found = np.asarray(features(luma) + features(half))
        if not np.isfinite(found).all():
            return None
        scaled = 2 * (found - self._low) / (self._high - self._low) - 1
        distances = np.square(self._vectors - scaled).sum(axis=1)
        return float(self._coefficients @ np.exp(-self._gamma * distances) - self._rho)


def features(luma: np.ndarray) -> list[float]:
    """Return the 18 numbers of one scale; ``luma``: float64 [H, W], 0-1."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a flat picture has no statistics: score returns None
        centred = _centred(luma)
        shape, _, left, right = _asymmetric_fit(centred)
        found = [shape, (left**2 + right**2) / 2]
        neighbours = (
            centred[:, :-1] * centred[:, 1:],
            centred[:-1] * centred[1:],
            centred[:-1, :-1] * centred[1:, 1:],
            centred[1:, :-1] * centred[:-1, 1:],
        )
        for products in neighbours:
            shape, mean, left, right = _asymmetric_fit(products)
            found += [shape, mean, left**2, right**2]
    return found


def _centred(luma: np.ndarray) -> np.ndarray:
    """Subtract from each pixel the mean of its neighbourhood, and divide by the deviation there."""
    kernel = cv2.getGaussianKernel(WINDOW, SIGMA)

    def blurred(values: np.ndarray) -> np.ndarray:
        return cv2.sepFilter2D(values, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_CONSTANT)

    mean = blurred(luma)
    return (luma - mean) / (np.sqrt(np.abs(blurred(luma**2) - mean**2)) + STABLE)


def _asymmetric_fit(values: np.ndarray) -> tuple[float, float, float, float]:
    """Fit an asymmetric generalised Gaussian by its moments: shape, mean, deviation left and right of zero."""
    below, above = values[values < 0], values[values >= 0]
    left, right = np.sqrt(np.mean(below**2)) if len(below) else np.nan, np.sqrt(np.mean(above**2))
    skew = left / right
    ratio = np.abs(values).mean() ** 2 / np.mean(values**2)
    gamma = scipy.special.gamma
    wanted = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shape = float(np.interp(wanted, _ratio_of_alphas(), _ALPHAS))
    spread = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, float((right - left) * spread * gamma(2 / shape) / gamma(1 / shape)), float(left), float(right)


@cache
def _ratio_of_alphas() -> np.ndarray:
    """Return squared mean deviation over variance, ascending, of the symmetric Gaussian of each shape in _ALPHAS."""
    gamma = scipy.special.gamma
    return gamma(2 / _ALPHAS) ** 2 / (gamma(1 / _ALPHAS) * gamma(3 / _ALPHAS))
