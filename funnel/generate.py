"""`funnel generate` makes a film of a portrait and a voice."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from funnel import console, options

if TYPE_CHECKING:
    from inference.pipeline import Pipeline, Prepared

HOW = "How it is made"


def generate(
    audio: options.Voice,
    model: options.Model,
    image: options.Portrait = None,
    out: Annotated[Path, typer.Option(help="The film, an MP4 file.")] = Path("out.mp4"),
    video: Annotated[Path | None, typer.Option(help="A video to edit: only the lower face in it is made anew.")] = None,
    lipsync: Annotated[
        bool, typer.Option("--lipsync", help="With --video: pixels outside the mask stay those of the video.")
    ] = False,
    prompt: Annotated[str, typer.Option(help="What is to be seen, in words.")] = "",
    face: Annotated[int | None, typer.Option(min=1, help="Which of several faces, from the left.")] = None,
    force: options.Force = False,
    seed: Annotated[int, typer.Option(help="Of the noise; the same seed makes the same film.")] = 0,
    scale: Annotated[int, typer.Option(min=1, max=8, help="Make the film's pictures so many times larger.")] = 1,
    preview: Annotated[
        bool, typer.Option("--preview", help="Make the first window only, under the name OUT.preview.mp4.")
    ] = False,
    seconds: options.Seconds = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Sampling steps. Default: the model's.", rich_help_panel=HOW)
    ] = None,
    scheduler: Annotated[str, typer.Option(help="euler, unipc, dpm++ or dpm++1s.", rich_help_panel=HOW)] = "euler",
    audio_scale: Annotated[
        str | None,
        typer.Option(help="Guidance by the sound: 4.5, or 4.5:1->2:0 over time.", rich_help_panel=HOW),
    ] = None,
    text_scale: Annotated[
        str | None, typer.Option(help="Guidance by the prompt, likewise.", rich_help_panel=HOW)
    ] = None,
    hybrid_steps: Annotated[
        int | None,
        typer.Option(help="With --video: after so many steps see its first picture only.", rich_help_panel=HOW),
    ] = None,
    cache: Annotated[
        float, typer.Option(min=0, help="TeaCache: 0 computes every step, 0.3 is usual.", rich_help_panel=HOW)
    ] = 0.0,
    cache_keeps: Annotated[
        Literal["residual", "velocity"],
        typer.Option(help="What a cache keeps: nearer to the truth, or in little memory.", rich_help_panel=HOW),
    ] = "residual",
    cache_on_host: Annotated[
        bool, typer.Option("--cache-on-host", help="Keep it in the host's memory.", rich_help_panel=HOW)
    ] = False,
    cache_first: Annotated[
        int, typer.Option(min=1, help="First steps that a cache leaves alone.", rich_help_panel=HOW)
    ] = 1,
    cache_last: Annotated[
        int, typer.Option(min=0, help="Last steps that a cache leaves alone.", rich_help_panel=HOW)
    ] = 1,
    window: Annotated[
        int | None, typer.Option(help="Latents of a window. Default: the training's.", rich_help_panel=HOW)
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(help="Latents that windows share. Default: a quarter.", rich_help_panel=HOW)
    ] = None,
    join: Annotated[
        str,
        typer.Option(help="blf; none, overwrite, chain or paper to compare, which do not resume.", rich_help_panel=HOW),
    ] = "blf",
    order: Annotated[
        str,
        typer.Option(help="Of blf: cone, waves or sweep; memory differs, the film does not.", rich_help_panel=HOW),
    ] = "cone",
    colour: Annotated[
        float, typer.Option(min=0, max=1, help="Strength of the colour unification.", rich_help_panel=HOW)
    ] = 0.0,
    batched: Annotated[
        bool, typer.Option("--batched", help="Ask guidance's branches as one batch.", rich_help_panel=HOW)
    ] = False,
    dtype: Annotated[
        Literal["auto", "fp32", "bf16"], typer.Option(help="Of the numbers; auto: bf16 on a GPU.", rich_help_panel=HOW)
    ] = "auto",
    quantise: Annotated[
        Literal["none", "fp8"], typer.Option(help="How weights are stored.", rich_help_panel=HOW)
    ] = "none",
    offload: Annotated[
        Literal["none", "model", "group"],
        typer.Option(help="Keep weights in the host's memory, and bring them when asked.", rich_help_panel=HOW),
    ] = "none",
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the blocks: slow to begin, then faster.", rich_help_panel=HOW)
    ] = False,
    sequence: Annotated[
        int, typer.Option(min=1, help="With torchrun: processes that share each window.", rich_help_panel=HOW)
    ] = 1,
    device: options.Device = "auto",
    encoders: options.Encoders = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would cost; write nothing.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Make a talking portrait of any length.

    A picture and a sound become a film. Memory does not grow with the length. Ctrl-C stops, and the same command goes
    on where it stopped.

    Several processes share the windows: `torchrun --nproc-per-node 8 -m funnel generate …`; with `--sequence 2`, two
    and two of them share each window.
    """
    from inference.parallel.group import from_environment, joined
    from inference.pipeline import Pipeline
    from inference.placing import Placing, numbers_of
    from inference.request import Request

    request = Request(
        image=image,
        audio=audio,
        video=video,
        prompt=prompt,
        seconds=seconds,
        lipsync=lipsync,
        face=face,
        force=force,
        seed=seed,
        steps=steps,
        scheduler=scheduler,
        audio_scale=audio_scale,
        text_scale=text_scale,
        join=join,
        order=order,
        window=window,
        overlap=overlap,
        hybrid_steps=hybrid_steps,
        cache=cache,
        cache_keeps=cache_keeps,
        cache_on_host=cache_on_host,
        cache_first=cache_first,
        cache_last=cache_last,
        colour=colour,
        scale=scale,
        batched=batched,
    )
    with joined(from_environment(sequence, device)) as group:
        placing = Placing(offload, compile, quantise)
        pipeline = Pipeline.load(model, device, numbers_of(dtype), encoders, group, placing)
        prepared = pipeline.prepare(pipeline.first_window(request) if preview else request)
        out = out.with_suffix(".preview.mp4") if preview else out
        for note in prepared.notes if group.is_first else ():
            console.notice(f"funnel: {note}")
        if dry_run:
            _say_cost(pipeline, prepared, as_json)
        else:
            _make(pipeline, prepared, out, as_json)


def _say_cost(pipeline: Pipeline, prepared: Prepared, as_json: bool) -> None:
    from funnel.generating import cost_rows

    told = pipeline.forecast(prepared)
    if not pipeline.group.is_first:
        return
    if as_json:
        console.as_json({**asdict(told), "total_s": told.total_s, "first_s": told.first_s})
    else:
        console.table([console.Column("", name=True), console.Column("")], cost_rows(told))


def _make(pipeline: Pipeline, prepared: Prepared, out: Path, as_json: bool) -> None:
    from funnel.generating import Bar
    from inference.request import Stopped
    from runner.drain import Drain

    with Drain() as drain:
        try:
            with Bar() if pipeline.group.is_first else nullcontext() as bar:
                show = bar.show if bar else lambda now: None
                result = pipeline.generate_prepared(prepared, out, show, lambda: drain.requested)
        except Stopped:
            drain.stop_if_requested()
            raise KeyboardInterrupt from None  # another process was told to stop
    if not pipeline.group.is_first:
        return
    if as_json:
        console.as_json({**asdict(result), "path": str(result.path)})
    else:
        made = f"{result.frames} pictures at {result.fps:g} fps, {result.frames / result.fps:.2f} s"
        console.line(f"{result.path}: {made}; {result.seconds:.0f} s, {result.calls} calls of the model")
