"""This script fits the two small weights files of the sync stage.

    python scripts/fit_sync.py lips                                 # lips_from_sound.npz, from synthesised speech alone
    python scripts/fit_sync.py canonical --media DIR FILE [FILE…]   # light_asd_canonical.npz, from talking clips

The second needs Light-ASD's weights (FUNNEL_WEIGHTS) and takes files whose licence allows it only; without names it
takes PERMISSIVE. It stores their sha256 in the weights file: those clips must not be scored as a test.
Both write to --out and print the records for weights/embedded.json.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from scipy.signal import resample_poly

from catalogs.media import ClipMedia, ClipSpan
from catalogs.media.sound import SPEECH_RATE
from curation.demo.speech import synthesise
from curation.demo.visemes import Viseme
from stages.lipsync.asd_lag import CanonicalPair, HeardVoice, LightAsdLag, SeenFace
from stages.lipsync.lag import FPS, MIN_FRAMES, high_pass, trim
from stages.lipsync.light_asd import LightAsd
from stages.lipsync.mouth_mel import N_FEATURES, sound_features
from stages.lipsync.tracks import find_tracks
from stages.sync import LIGHT_ASD, load_mouth, track_sound
from stages.vision.faces import FaceDetector
from weights import registry

#: One clip each of people who talk on camera, Apache-2.0 or MIT. Left out on purpose: latentsync_demo1 and
#: retalking_face3, from which the shift tests are made, and everything under another licence.
PERMISSIVE = (
    "video/latentsync_demo2.mp4", "video/latentsync_demo3.mp4",
    "video/retalking_face1.mp4", "video/retalking_face2.mp4", "video/retalking_face4.mp4", "video/retalking_face5.mp4",
    "video/liveportrait_d12.mp4", "video/liveportrait_d20.mp4", "video/real3d_may_5s.mp4",
    "video/wan_animate_talkshow.mp4",
)  # fmt: skip
LICENCES = ("Apache-2.0", "MIT")

TEXTS = {
    "en-us": "The quick brown fox jumps over the lazy dog while my father was moving the big blue boat to the beach. "
    "We have to believe that people want more love, and above all the music of what happens. She sells sea shells by "
    "the shore; open the window, please, before you leave the room. Why would anybody buy more apples if they could "
    "pick them from a tree at home?",
    "de": "Am Abend fuhren wir mit dem Boot über den See und sprachen über alte Bücher. Mein Bruder wollte unbedingt "
    "pünktlich nach Hause kommen, aber der Bus war schon weg. Wir müssen morgen früh Brot und Butter kaufen.",
    "fr": "Bonjour à tous, je voudrais vous parler de mon petit village au bord de la mer. Les enfants jouent dans la "
    "rue pendant que ma mère prépare le dîner. Peut-être partirons-nous demain pour Paris.",
    "es": "Buenos días amigos, vamos a hablar de una pequeña ciudad con muchos problemas. Mi abuela vivía cerca del "
    "puerto y me contaba cuentos por la noche. Después comíamos pan y bebíamos leche.",
    "cmn": "大家好，今天我们来讨论一个非常重要的问题。我妈妈买了三本书，爸爸跑步去公园。"
    "明天早上我们一起去北京看朋友，然后吃晚饭。",
    "it": "Buongiorno a tutti, oggi parliamo di musica e di amore. Mio fratello abita a Roma con una bella famiglia. "
    "Vorrei bere un bicchiere di vino rosso prima di partire.",
    "pt": "Bom dia, meus amigos, vamos falar sobre o povo e a música. A minha mãe fez um bolo muito bom para o meu "
    "irmão.",
    "ru": "Добрый день, сегодня мы будем говорить о музыке и о людях. Моя мама купила большую белую лампу, и мы "
    "поехали домой.",
}
VOICES = ("", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+f1", "+f2", "+f3", "+f4")
COPIES = 2  # differently spoiled copies of each utterance
COARTICULATION_S = 0.1  # lips move smoothly between phonemes
STEPS_PER_FRAME = 16
NETWORKS, HIDDEN, DROPOUT, EPOCHS = 4, 64, 0.3, 4  # the networks are averaged, which makes one of 4 * 64 units
SEED = 0


@dataclass(frozen=True)
class Lesson:
    """Holds training rows: features float32 [n, 728]; opening, width and closure float32 [n, 3], high-passed."""

    features: np.ndarray
    lips: np.ndarray


def fit_lips(out: Path) -> None:
    rng = np.random.default_rng(SEED)
    lessons = [lesson for language in TEXTS for voice in VOICES for lesson in _lessons(language, voice, rng)]
    features = np.concatenate([lesson.features for lesson in lessons])
    lips = np.concatenate([lesson.lips for lesson in lessons])
    scale, target = features.std(axis=0), lips / lips.std(axis=0)
    networks = [_train(features / scale, target, seed) for seed in range(NETWORKS)]
    layers = [[p.detach().numpy() for p in network.parameters()] for network in networks]
    np.savez(
        out,
        scale=scale.astype(np.float32),
        hidden=np.concatenate([layer[0].T for layer in layers], axis=1).astype(np.float16),
        hidden_bias=np.concatenate([layer[1] for layer in layers]),
        out=np.concatenate([layer[2].T[:, :2] for layer in layers]) / NETWORKS,  # closure is only used in training
        out_bias=np.mean([layer[3][:2] for layer in layers], axis=0),
    )


def _lessons(language: str, voice: str, rng: np.random.Generator) -> list[Lesson]:
    speech = synthesise(
        TEXTS[language], language + voice, rate=int(rng.integers(130, 200)), pitch=int(rng.integers(30, 70))
    )
    samples = resample_poly(speech.samples, SPEECH_RATE // 50, speech.sample_rate // 50)
    samples = samples / np.abs(samples).max() / 2
    n_frames = len(samples) * FPS // SPEECH_RATE
    lips = trim(high_pass(_lips_over_time(speech.visemes, n_frames)))
    return [Lesson(trim(sound_features(_spoiled(samples, rng), n_frames)), lips) for _ in range(COPIES)]


def _lips_over_time(visemes: tuple[Viseme, ...], n_frames: int) -> np.ndarray:
    """Return opening, width and closure, float64 [n_frames, 3].

    Frame k is the mean over its 40 ms, as a camera sees it.
    """
    rate = FPS * STEPS_PER_FRAME
    at_s = np.arange(n_frames * STEPS_PER_FRAME) / rate
    lips = np.zeros((len(at_s), 3))
    for viseme in visemes:
        lips[(at_s >= viseme.start_s) & (at_s < viseme.end_s)] = viseme.opening, viseme.width, viseme.closes
    kernel = np.hanning(int(COARTICULATION_S * rate) + 1)
    smooth = np.stack([np.convolve(column, kernel / kernel.sum(), "same") for column in lips.T], axis=1)
    return smooth.reshape(n_frames, STEPS_PER_FRAME, 3).mean(axis=1)


def _spoiled(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give the speech another level, another microphone, perhaps a room, and some noise.

    Recordings have these and synthesised speech does not.
    """
    microphone = np.zeros(9)
    microphone[4] = 1
    microphone += rng.standard_normal(9) * 0.15 * rng.random()
    spoiled = np.convolve(samples * 10 ** rng.uniform(-1, 0), microphone, "same")
    if rng.random() < 0.5:
        length = int(rng.uniform(0.05, 0.25) * SPEECH_RATE)
        room = rng.standard_normal(length) * np.exp(-5 * np.arange(length) / length)
        room[0] = 8
        spoiled = np.convolve(spoiled, room / 8)[: len(samples)]
    return (spoiled + rng.standard_normal(len(samples)) * 10 ** rng.uniform(-4, -2)).astype(np.float32)


def _train(features: np.ndarray, lips: np.ndarray, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    network = torch.nn.Sequential(
        torch.nn.Dropout(DROPOUT),
        torch.nn.Linear(N_FEATURES, HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Dropout(DROPOUT),
        torch.nn.Linear(HIDDEN, 3),
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-3)
    x, y = (torch.from_numpy(values.astype(np.float32)) for values in (features, lips))
    for epoch in range(EPOCHS):
        losses = []
        for rows in torch.randperm(len(x)).split(256):
            loss = torch.nn.functional.mse_loss(network(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        print(f"network {seed} epoch {epoch}: unexplained variance {np.mean(losses):.3f}")
    return network


def fit_canonical(media: Path, names: list[str], out: Path) -> None:
    _check_licences(media, names)
    method = LightAsdLag(load_mouth(), LightAsd(registry.require(LIGHT_ASD)), CanonicalPair.unfitted())
    detector = FaceDetector(registry.require("face_detector"))
    pairs = [pair for name in names if (pair := talking_pair(method, detector, media / name))]
    CanonicalPair.fit(pairs, [_sha256(media / name) for name in names]).save(out)


def talking_pair(method: LightAsdLag, detector: FaceDetector, path: Path) -> tuple[SeenFace, HeardVoice] | None:
    """Return the main face of a file and its sound."""
    clip = clip_of_file(path)
    tracks = find_tracks(clip.dense().rgb, detector, MIN_FRAMES)
    seen = method.see(clip.dense().rgb, tracks[0]) if tracks else None
    return None if seen is None else (seen, method.hear(track_sound(clip, tracks[0]), len(tracks[0])))


def clip_of_file(path: Path) -> ClipMedia:
    """Open the whole file as one clip."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        pts = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
        base = stream.time_base
    start, end = pts[0], pts[-1] + round(1 / (FPS * base))
    return ClipMedia(
        ClipSpan(path.stem, path.stem, str(path), float(start * base), float(end * base), start, end, base)
    )


def _check_licences(media: Path, names: list[str]) -> None:
    with (media / "manifest.csv").open(newline="") as handle:
        licence = {row["file"]: row["licence"] for row in csv.DictReader(handle)}
    for name in names:
        if licence.get(name) not in LICENCES:
            raise SystemExit(
                f"{name}: licence {licence.get(name)!r} does not allow it (allowed: {', '.join(LICENCES)})"
            )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _record(path: Path, name: str, purpose: str) -> dict:
    return {
        "name": name,
        "file": path.name,
        "sha256": _sha256(path),
        "size_bytes": path.stat().st_size,
        "licence": "Apache-2.0",
        "source": f"scripts/fit_sync.py {'lips' if name == 'lips_from_sound' else 'canonical'}",
        "purpose": purpose,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("lips", "canonical"))
    parser.add_argument("--media", type=Path, help="folder with manifest.csv")
    parser.add_argument("--out", type=Path, default=registry.FILES)
    parser.add_argument("files", nargs="*", help="relative to --media")
    given = parser.parse_args()
    if given.what == "lips":
        path = given.out / "lips_from_sound.npz"
        fit_lips(path)
        print(json.dumps(_record(path, "lips_from_sound", "lip opening and width from speech (sync, mouth_mel)")))
        return
    if given.media is None:
        parser.error("canonical needs --media")
    path = given.out / "light_asd_canonical.npz"
    fit_canonical(given.media, given.files or list(PERMISSIVE), path)
    print(json.dumps(_record(path, "light_asd_canonical", "what Light-ASD's two encodings share (sync)")))


if __name__ == "__main__":
    main()
