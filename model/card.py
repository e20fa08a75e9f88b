"""This module writes the model card: the ``README.md`` of a model folder, for people who did not train it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from model.codecs.codec import Codec
from model.facts import ModelFacts
from model.shapes import frames_of_latents

_STAND_INS = {
    "log_mel": "The sound is heard by a log-mel stand-in that needs no weights; with Whisper lips are better.",
    "hashed": "Captions are hashed words: the model knows words apart, but nothing of their meaning.",
    "linear": "The codec is a linear one, fitted on the training clips: it blurs, above all what they had little of.",
}


def model_card(facts: ModelFacts, codec: Codec, parameters: int, figures: Mapping[str, Any], licence: str) -> str:
    """A model has this card: Markdown with a YAML head, as model hubs read it.

    Args:
        facts: of ``model.json``.
        codec: of the folder.
        parameters: number of the transformer's weights.
        figures: measured values by name, as they are to be read; empty if nothing was measured.
        licence: a licence's identifier, or ``other``.
    """
    parts = [
        _head(facts, licence),
        "# A talking-portrait video model\n",
        "The model makes the video of a person who speaks a given sound, from one picture (image animation) or in an "
        "existing video (its lower face is painted anew). It is a Wan / SkyReels-V2 transformer with audio "
        "cross-attention.\n",
        "## What it is made for\n",
        _table(_use(facts, codec, parameters)),
        *[f"- {_STAND_INS[name]}\n" for name in (facts.audio.name, facts.text.name, codec.name) if name in _STAND_INS],
        "\n## Use\n",
        '```python\nfrom model.folder import ModelFolder\n\nmodel = ModelFolder.load("path/of/this/folder")\n'
        "model.check_audio(encoder)  # the sound must be heard by the encoder of the training\n"
        "velocity = model.transformer(...)  # noise - data; see docs/model.md\n```\n",
        "## Training\n",
        _table(_flat({"base": facts.base or "none: random weights", **facts.training})),
        "## Data\n",
        "The videos were chosen by a funnel of measurements and rules.\n\n" if facts.funnel else "Not stated.\n",
        _table(_flat(facts.funnel)),
        "## Figures\n",
        _table(dict(figures)) if figures else "Nothing was measured.\n",
        "## Licence and care\n",
        "Base weights and training videos have licences of their own, which also hold for this model; whoever passes "
        "it on must check them. The model can make people seem to say what they never said: use portraits only with "
        "consent, and label what is made.\n",
    ]
    return "\n".join(part for part in parts if part)


def _head(facts: ModelFacts, licence: str) -> str:
    head: dict[str, Any] = {
        "license": licence,
        "library_name": "diffusers",
        "pipeline_tag": "image-to-video",
        "tags": ["talking-head", "audio-driven", "lip-sync", "flow-matching"],
    }
    if facts.base:
        head["base_model"] = facts.base
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n"


def _use(facts: ModelFacts, codec: Codec, parameters: int) -> dict[str, Any]:
    shape = codec.shape
    frames = frames_of_latents(facts.window_latents, shape.temporal)
    return {
        "preset": facts.preset,
        "parameters": f"{parameters:,}",
        "pictures": f"{facts.width} x {facts.height} pixels, {facts.fps:g} frames per second",
        "window": f"{facts.window_latents} latents, {frames} frames",
        "codec": f"{codec.name}: {shape.channels} channels, {shape.temporal} x {shape.spatial} x {shape.spatial}, "
        f"`{codec.digest[:12]}`",
        "sampling": f"{facts.sampling.steps} steps, shift {facts.sampling.shift:g}, guidance by sound "
        f"{facts.sampling.audio_scale:g}, by text {facts.sampling.text_scale:g}",
        "audio encoder": f"{facts.audio.name}: width {facts.audio.width}, `{facts.audio.digest[:12]}`",
        "text encoder": f"{facts.text.name}: width {facts.text.width}, `{facts.text.digest[:12]}`",
        "convention": facts.noise,
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values get names with dots."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _table(rows: Mapping[str, Any]) -> str:
    if not rows:
        return ""
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines]) + "\n"


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
