"""`python -m training.precompute` is defined here: it forecasts, encodes with progress, and says what came of it."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from funnel import console, options
from funnel.command_line import CONTEXT, run_command_line
from funnel.exit_codes import ExitCode
from funnel.progress import PlainProgress, TerminalProgress
from runner import logs

if TYPE_CHECKING:  # torch takes seconds to import, and --help needs none of it
    from runner.tally import Tally
    from training.forecast import Forecast
    from training.precompute import PrecomputeOptions
    from training.precompute_plan import Plan

PROGRAM = "python -m training.precompute"
_HELP = """Turn a snapshot into latents to train on.

Video, condition, text and audio latents and the masks of the lower face go into a folder; the same command goes on
where it stopped. Training can also encode on the fly instead (data: catalog: in its config), and then needs no folder.
"""


def main() -> None:
    """Run `python -m training.precompute`."""
    run_command_line(app(), PROGRAM)


def app() -> typer.Typer:
    """Make the program."""
    made = typer.Typer(add_completion=False)
    made.command(help=_HELP, context_settings=CONTEXT)(command)
    return made


def command(
    catalog: options.CatalogOption,
    snapshot: Annotated[str, typer.Option(help="Name of the snapshot, as `funnel snapshot` made it.")],
    to: Annotated[
        Path, typer.Option(help="Local folder for the latents; on a cluster one that all machines see under this path.")
    ],
    codec: Annotated[
        str, typer.Option(help="Folder of a codec; 'linear' fits a small one on the snapshot's own clips.")
    ] = "linear",
    audio: Annotated[
        str, typer.Option(help="whisper, log_mel (a stand-in), or auto: Whisper where it is installed.")
    ] = "auto",
    text: Annotated[str, typer.Option(help="Folder of a UMT5 text encoder, or 'hashed' (a stand-in).")] = "hashed",
    image: Annotated[
        str, typer.Option(help="Folder of a Wan image-to-video model whose CLIP sees the reference; for such bases.")
    ] = "",
    captions: Annotated[
        str | None, typer.Option(help="Column with the captions. Default: caption, if the snapshot has it.")
    ] = None,
    height: Annotated[int, typer.Option(help="Height of the pictures, a multiple of 16.")] = 480,
    width: Annotated[int, typer.Option(help="Width of the pictures, a multiple of 16.")] = 832,
    crop: Annotated[
        str, typer.Option(help="centre: this shape from the middle; fit: of five shapes the one most like the picture.")
    ] = "fit",
    fps: Annotated[float, typer.Option(help="Pictures per second.")] = 25.0,
    window_frames: Annotated[int, typer.Option(help="Pictures of a training window; shorter clips are left out.")] = 81,
    max_frames: Annotated[int, typer.Option(help="Longer clips are cut to this many pictures from their start.")] = 481,
    faces: Annotated[
        str, typer.Option(help="Who finds the lower face: mesh (profile lite) or dwpose (profile reference).")
    ] = "mesh",
    dtype: Annotated[str, typer.Option(help="Of the latents: bfloat16, float16 or float32.")] = "bfloat16",
    device: Annotated[str, typer.Option(help="Where encoders run: auto, cpu or cuda.")] = "auto",
    forecast: Annotated[
        bool, typer.Option("--forecast", help="Only say how large and how long; write nothing.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Also try clips again that failed before.")] = False,
    shard_gb: Annotated[float, typer.Option(min=0.001, help="About the size of a shard, in GB.")] = 1.0,
    workers: options.Workers = 0,
    max_failure_rate: options.MaxFailureRate = 0.05,
    ray_address: options.RayAddress = "",
    drain_seconds: options.DrainSeconds = 30,
) -> None:
    """Plan, forecast, encode and report."""
    from training.encode_config import EncodeConfig
    from training.encoders import Encoders
    from training.precompute import PrecomputeOptions
    from training.precompute_plan import Request, make_plan

    config = EncodeConfig(
        fps=fps,
        height=height,
        width=width,
        crop=crop,  # type: ignore[arg-type]  # the config checks the word
        window_frames=window_frames,
        max_frames=max_frames,
        faces=faces,  # type: ignore[arg-type]
        dtype=dtype,
    )
    request = Request(
        catalog=catalog,
        snapshot=snapshot,
        folder=to,
        codec=codec,
        captions=captions,
        encoders=Encoders(audio, text, device, image),
        config=config,
    )
    settings = PrecomputeOptions(
        workers=workers,
        ray_address=ray_address,
        drain_s=drain_seconds,
        shard_bytes=round(shard_gb * 1e9),
        retry=retry,
    )
    plan = make_plan(request, settings.limits)
    if forecast:
        _say_plan(plan, _forecast(plan, settings, timed=True), max(1, workers))
    else:
        _run(plan, settings, max_failure_rate)


def _run(plan: Plan, settings: PrecomputeOptions, max_failure_rate: float) -> None:
    from training.precompute import precompute

    expected = _forecast(plan, settings, timed=False)
    if not expected.owed_clips and plan.is_finished():
        console.line(f"nothing to do: {_result(plan, plan.facts())}")
        return
    _say_plan(plan, expected, workers=1)
    is_plain = logs.writes_json() or not console.err.is_terminal
    progress = PlainProgress() if is_plain else TerminalProgress(console.err)
    began = time.monotonic()
    facts, tally = precompute(plan, settings, progress, lambda line: console.notice(f"funnel: {line}"))
    console.line(f"{_result(plan, facts)}, in {time.monotonic() - began:.0f} s")
    if tally.bugs:
        _warn(f"unexpected errors (reason 'internal'); the first:\n{tally.bugs[0]}")
    _end_with_budget(tally, max_failure_rate, plan.request.folder)


def _forecast(plan: Plan, settings: PrecomputeOptions, timed: bool) -> Forecast:
    from training.precompute import forecast_of

    return forecast_of(plan, settings, timed)


def _say_plan(plan: Plan, expected: Forecast, workers: int) -> None:
    from training.forecast import duration, size
    from training.precompute_plan import counted

    encoding = plan.encoding
    console.line(
        f"snapshot {plan.snapshot.name}: {expected.clips} clips to encode, {expected.hours:.2f} h of pictures"
        + (f"; left out: {counted(plan.left_out)}" if plan.left_out else "")
    )
    console.line(
        f"encoders: {encoding['codec']['name']}, {encoding['audio']['name']}, {encoding['text']['name']}, "
        f"{encoding['faces']['name']}"
    )
    console.line(
        f"latents: {size(expected.total_bytes)}, {size(expected.total_bytes / expected.clips)} a clip; "
        f"{size(expected.owed_bytes)} still to write, {size(expected.free_bytes)} free"
    )
    if (seconds := expected.seconds(workers)) is not None:
        console.line(
            f"time: {expected.clip_s:.2g} s a clip, {duration(seconds)} for {expected.owed_clips} clips on {workers} "
            f"worker{'s' * (workers != 1)} like this one"
        )
    if encoding["audio"]["name"] == "log_mel":
        _warn("the sound is encoded by log_mel, a stand-in; for Whisper: `funnel models pull whisper_base`")


def _result(plan: Plan, facts: dict[str, Any]) -> str:
    from training.forecast import size

    left_out = ", ".join(f"{clips} {reason}" for reason, clips in facts["left_out"].items())
    return f"{plan.request.folder} holds {facts['clips']} clips, {size(facts['bytes'])} in {facts['shards']} shards" + (
        f"; left out: {left_out} (left_out.parquet)" if left_out else ""
    )


def _end_with_budget(tally: Tally, max_failure_rate: float, folder: Path) -> None:
    """End with exit code 3 when too many of the clips that were tried in this run failed."""
    if tally.items and tally.failures / tally.items > max_failure_rate:
        _warn(
            f"{tally.failures} of {tally.items} clips failed, over the budget of {max_failure_rate:.0%} "
            f"(--max-failure-rate); everything else is committed. Which: {folder / 'left_out.parquet'}"
        )
        raise typer.Exit(ExitCode.TOO_MANY_FAILURES)


def _warn(text: str) -> None:
    console.notice(f"funnel: {text}", logging.WARNING)
