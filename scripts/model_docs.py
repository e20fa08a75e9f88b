"""This script writes the tables of docs/model.md from the presets and the formulas of what they cost.

python -m scripts.model_docs            # writes; `--check` only compares (a test does)
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from model.cost import Size, activations, forward_flops, parameters, size_of, training_memory
from model.positions import window_tokens
from model.presets import PRESETS, Preset
from model.shapes import latents_of_frames

TARGET = Path(__file__).parent.parent / "docs" / "model.md"
BEGIN, END = "<!-- tables: made by scripts/model_docs.py -->", "<!-- end of tables -->"
FRAMES, FPS = 81, 25.0
VIDEOS = {"tiny": ((96, 96),), "1.3B": ((480, 832), (544, 960)), "14B": ((480, 832), (544, 960))}
GPU = 80e9 * 0.9  # of an 80 GB card, a tenth for everything else


def main() -> int:
    text = TARGET.read_text("utf-8")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    made = f"{head}{BEGIN}\n{render()}\n{END}{tail}"
    if "--check" in sys.argv:
        return 0 if made == text else 1
    TARGET.write_text(made, "utf-8")
    print(f"wrote {TARGET}")
    return 0


def render() -> str:
    """Return all tables."""
    return "\n\n".join(["\n".join(table) for table in (_sizes(), _flops(), _states(), _activations())])


def _sizes() -> list[str]:
    lines = [
        "| preset | layers x heads x width | base parameters | audio (`audio_dim`) | audio, full width | base |",
        "|---|---|---|---|---|---|",
    ]
    for preset in PRESETS.values():
        config = preset.config
        count, full = parameters(config), parameters({**config, "audio_dim": None})
        shape = f"{config['num_layers']} x {config['num_attention_heads']} x {config['attention_head_dim']}"
        narrow = f"{_count(count.audio)} ({config['audio_dim']})" if config.get("audio_dim") else "-"
        lines.append(
            f"| `{preset.name}` | {shape} | {_count(count.base)} | {narrow} | {_count(full.audio)} | {preset.about} |"
        )
    return lines


def _flops() -> list[str]:
    lines = [
        f"| preset | video ({FRAMES} frames) | video tokens | forward | hearing adds | training step, a sample |",
        "|---|---|---|---|---|---|",
    ]
    for preset, height, width in _videos():
        size = _size(preset, height, width)
        flops = forward_flops(preset.config, size)
        lines.append(
            f"| `{preset.name}` | {height} x {width} | {size.video:,} | {_flop(flops.total)} | "
            f"{100 * flops.audio / flops.base:.1f} % | {_flop(flops.step())} |"
        )
    return lines


def _states() -> list[str]:
    lines = [
        "| preset | trained | weights | gradients | AdamW | EMA | together |",
        "|---|---|---|---|---|---|---|",
    ]
    for preset in PRESETS.values():
        size = _size(preset, *VIDEOS[preset.name][0])
        for audio_only, what in ((False, "all"), (True, "the audio branch")):
            memory = training_memory(preset.config, size, audio_only=audio_only)
            parts = (memory.weights, memory.gradients, memory.moments, memory.ema)
            cells = [*map(_bytes, parts), _bytes(sum(parts))]
            lines.append(f"| `{preset.name}` | {what} | {' | '.join(cells)} |")
    return lines


def _activations() -> list[str]:
    lines = [
        "| preset | video | activations, all kept | with gradient checkpointing | 80 GB cards, all trained |",
        "|---|---|---|---|---|",
    ]
    for preset, height, width in _videos():
        size = _size(preset, height, width)
        kept, saved = (activations(preset.config, size, checkpointing=on) for on in (False, True))
        memory = training_memory(preset.config, size)
        cards = max(1, math.ceil((memory.total - memory.activations) / (GPU - saved)))
        lines.append(f"| `{preset.name}` | {height} x {width} | {_bytes(kept)} | {_bytes(saved)} | {cards} |")
    return lines


def _videos() -> list[tuple[Preset, int, int]]:
    return [(PRESETS[name], height, width) for name, videos in VIDEOS.items() for height, width in videos]


def _size(preset: Preset, height: int, width: int) -> Size:
    latents = latents_of_frames(FRAMES, 4)
    text = 16 if preset.name == "tiny" else 512
    audio = window_tokens(latents, FPS, 4)
    return size_of(preset.config, latents, height // 8, width // 8, audio=audio, text=text)


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} B" if number >= 1e8 else f"{number / 1e6:.2f} M"


def _flop(number: int) -> str:
    return f"{number / 1e15:.2f} PFLOP" if number >= 1e14 else f"{number / 1e9:.1f} GFLOP"


def _bytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
