"""SyncNet's inputs are colour crops of one face, and cepstra of the sound of the same time.

They are made as in joonson/syncnet_python (``run_pipeline.py``, ``SyncNetInstance.py``): squares 2.8 half boxes wide
that reach from 1 half box above the centre of the face to 1.8 below, smoothed over 13 pictures, at 224 pixels, in
OpenCV's BGR order, 0..255 unscaled; 13 cepstra every 10 ms in windows of 20, one window a picture.

Two things differ on purpose. Boxes come from this package's own tracks (scaled to S3FD's size), and the running median
repeats the first and last box where scipy's pads with zeros, which would shift the crops of 6 pictures at either end.
"""

from __future__ import annotations

import cv2
import numpy as np

from stages.lipsync.mfcc import mfcc
from stages.lipsync.syncnet.network import CEPSTRA_PER_WINDOW, CROP, WINDOW
from stages.lipsync.tracks import Track, face_crops

CEPSTRA_PER_FRAME = 4  #: 10 ms steps at 25 fps


def picture_crops(rgb: np.ndarray, track: Track) -> np.ndarray:
    """Cut the pictures of the n - 5 windows that are compared, uint8 [n - 1, 224, 224, 3] BGR (:func:`n_windows`)."""
    crops = face_crops(rgb, track, CROP)[: n_windows(len(track)) + WINDOW - 1]
    return np.stack([cv2.cvtColor(crop, cv2.COLOR_RGB2BGR) for crop in crops])


def sound_windows(samples: np.ndarray, n_frames: int) -> np.ndarray:
    """Return float32 [n - 5, 13, 20]: window k covers the time of pictures k to k + 4.

    Args:
        samples: float [N] at 16 kHz from the moment of the first picture.
        n_frames: pictures of the track.
    """
    rows = mfcc(samples, CEPSTRA_PER_FRAME * n_frames)
    windows = np.lib.stride_tricks.sliding_window_view(rows, CEPSTRA_PER_WINDOW, axis=0)
    return windows[::CEPSTRA_PER_FRAME][: n_windows(n_frames)]


def n_windows(n_frames: int) -> int:
    """Return n - 5; n pictures have one more window, which the original code leaves out."""
    return n_frames - WINDOW
