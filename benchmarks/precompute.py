"""This benchmark measures what a clip costs precompute, by part of the work.

    python -m benchmarks.precompute                                       # the tiny world: 96 x 96, linear codec
    python -m benchmarks.precompute --codec wan/vae --height 480 --width 832

Clips are talking portraits, rendered here, of 81 pictures. Each is encoded as a worker does it, in this process, with
one thread; the first one warms up and is not counted. Seconds are this machine's; the shares are what compares. Parts:
decode (pictures and sound), masks (tracking the face, landmarks), crop, codec (video, blanked video, first picture),
audio, text, write (one shard of all clips, with its hash and record).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import cv2
import torch

from catalogs.media import ClipSpan, whole_clip
from curation.demo.compose import render
from curation.demo.pool import ENGLISH, MAN
from curation.demo.spec import Shot, SourceSpec
from model.codecs import LinearCodec
from model.codecs.codec import Codec
from training.encode import ClipEncoder, decoded, video_of
from training.encode_config import EncodeConfig
from training.encoders import Encoders, described, load_encoder, load_video_codec
from training.shards import encoding_digest, write_shard

FRAMES = 81


def rendered(folder: Path, clips: int, size: int) -> list[ClipSpan]:
    """Render talking portraits of 81 pictures, half a second of sound more."""
    spans = []
    for number in range(clips):
        line = (ENGLISH, MAN)[number % 2]
        shots = (Shot(FRAMES / 25 + 0.5, (line,), "close_up", seed=number),)
        path = folder / f"{number}.mp4"
        render(SourceSpec(f"clip{number}", shots, width=size, height=size), path)
        spans.append(whole_clip(path).span)
    return spans


def codec_of(words: argparse.Namespace, spans: list[ClipSpan], config: EncodeConfig) -> Codec:
    if words.codec != "linear":
        return load_video_codec(words.codec, words.device)
    videos = []
    for span in spans[:4]:
        rgb, crop = decoded(whole_clip(span.path, config.media), config, 4)
        videos.append(video_of(crop.pictures(rgb)))
    return LinearCodec.fit(videos)


def measured(encoder: ClipEncoder, spans: list[ClipSpan], folder: Path) -> dict[str, float]:
    """Encode and write the clips; return seconds per clip by part."""
    encoder.encode(encoder.open(spans[0]), "a person talks")  # warms up
    encoder.seconds.clear()
    made = []
    for span in spans:
        tensors = encoder.encode(encoder.open(span), "a person talks")
        made.append((encoder.facts(span.clip_id, tensors), tensors))
    seconds: dict[str, float] = defaultdict(float, encoder.seconds)
    began = time.monotonic()
    record = write_shard(folder, encoding_digest(described(encoder)), made)
    seconds["write"] = time.monotonic() - began
    print(f"{record.size_bytes / len(spans) / 1e6:.2f} MB a clip")
    return {part: spent / len(spans) for part, spent in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--source", type=int, default=320, help="side of the rendered sources, pixels")
    parser.add_argument("--codec", default="linear")
    parser.add_argument("--audio", default="auto")
    parser.add_argument("--height", type=int, default=96)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--device", default="cpu")
    words = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    config = EncodeConfig(
        height=words.height, width=words.width, crop="centre", max_frames=FRAMES, window_frames=FRAMES, max_enlarge=9.0
    )
    with tempfile.TemporaryDirectory() as folder:
        spans = rendered(Path(folder), words.clips, words.source)
        wanted = Encoders(words.audio, device=words.device)
        encoder = load_encoder(wanted, config, codec_of(words, spans, config))
        print(f"{encoder.codec.name}, {encoder.audio.name}, {config.height} x {config.width}, {words.clips} clips")
        for run in range(words.runs):
            parts = measured(encoder, spans, Path(folder))
            whole = sum(parts.values())
            shares = ", ".join(f"{part} {spent / whole:.1%}" for part, spent in sorted(parts.items()))
            print(f"run {run}: {whole:.3f} s a clip of {FRAMES / 25:.2f} s; {shares}")


if __name__ == "__main__":
    main()
