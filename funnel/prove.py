"""`funnel prove` takes videos through the whole trade, from a pool to a face that speaks, and measures it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from funnel import console
from funnel.exit_codes import ExitCode


def prove(
    pool: Annotated[
        Path | None, typer.Option(help="Your own clips, ten or more. Default: talking portraits that are made.")
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder for everything that is made.")] = Path("prove"),
    minutes: Annotated[float, typer.Option(min=0.5, help="Minutes of talking portraits to make.")] = 10.0,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps of each training.")] = 1500,
    seed: Annotated[int, typer.Option(help="Of the videos, the trainings and the noise.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Noise seeds over which the spread is stated.")] = 3,
    take: Annotated[float, typer.Option(min=15, help="Seconds of the long take that it speaks.")] = 60.0,
    ablation: Annotated[bool, typer.Option(help="Also train the model without audio RoPE.")] = True,
) -> None:
    """Train a small model on known videos, and measure how it speaks.

    On this CPU it learns to move its lips with sentences that it never heard; what it speaks is held against bars. The
    exit code is 1 if a figure falls short of its bar. What is there already is kept, so a stopped proof goes on; `--to`
    another folder begins a new one.
    """
    from curation.demo.talking import load_lips
    from funnel.proving import chain, figures
    from funnel.proving.proof import measure

    places = chain.Places(to, pool or to / "pool")
    seconds: dict[str, float] = {}
    chain.check_free(to)
    to.mkdir(parents=True, exist_ok=True)
    if pool is None:
        with _timed(f"1/5 {minutes:g} minutes of talking portraits: {places.pool}", "pool", seconds):
            chain.make_pool(places, minutes, seed)
    with _timed(f"2/5 the funnel: {places.catalog}", "funnel", seconds):
        chain.curate(places)
    with _timed(f"3/5 latents: {places.latents}", "precompute", seconds):
        chain.encode(places)
    lips = load_lips(places.pool)
    speaking = chain.config_of(places, places.speaking, steps, seed)
    deaf = chain.config_of(places, places.deaf, steps, seed, audio_rope=False) if ablation and lips else None
    with _timed(f"4/5 training: {places.speaking}" + (f" and {places.deaf}" if deaf else ""), "training", seconds):
        killing = chain.train_both(speaking, deaf)
    with _timed("5/5 speaking sentences never heard", "measuring", seconds):
        measured = measure(to, speaking, deaf, lips, killing, range(seed, seed + seeds), take)
    facts = {**measured.facts, "seconds": seconds, "steps": steps, "seed": seed, "versions": figures.versions()}
    figures.write_figures(to / "figures.json", measured.figures, facts)
    figures.show(measured.figures)
    minutes_taken = sum(seconds.values()) / 60
    console.line(f"\n{minutes_taken:.0f} minutes; look at {to / 'speaks.mp4'} and {to / 'contact_sheet.png'}")
    try:
        figures.require(measured.figures)
    except figures.ProofFallsShort as short:
        console.notice(f"funnel: {short}")
        raise typer.Exit(ExitCode.FAILED) from short


@contextmanager
def _timed(title: str, name: str, seconds: dict[str, float]) -> Iterator[None]:
    console.line(title)
    began = time.monotonic()
    yield
    seconds[name] = round(time.monotonic() - began, 1)
    console.line(f"    {seconds[name]:.0f} s")
