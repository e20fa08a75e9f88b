"""Processes of one generation on a CPU (gloo), started by torch.multiprocessing: what each of them does.

The functions are here, and not in the tests, because a started process imports them by name. To start takes longest, so
one start does all that is compared.
"""

from __future__ import annotations

import faulthandler
import itertools
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor

from catalogs.errors import UserError
from inference.fusion import FusionState
from inference.noise import noise as keyed
from inference.parallel.group import Group, from_environment, joined
from inference.parallel.kept import gathered, shared_out
from inference.parallel.windows import SharedFusion
from inference.schedules import Schedule
from inference.windows import Layout, layout
from tests.support.fusing import keyed_noise, window_velocity

#: Imported once, by the process from which the others are forked.
multiprocessing.set_forkserver_preload([__name__, "diffusers", "tests.support.wan_bases"])
HANGS_S = 200
Work = Callable[[int, Path], None]

#: (latents, window, overlap, steps): a ragged tail, half a window of overlap, none, fewer windows than processes.
SIZES = [(33, 8, 3, 4), (29, 8, 4, 3), (17, 6, 0, 3), (9, 8, 2, 2)]
SCHEDULES = ("euler", "unipc")
STOPPED = (1, 4, 6)  #: ticks after which a generation is stopped
RESUMED = (33, 8, 3, 4)


def start(work: Work, folder: Path, world: int) -> None:
    """Do some work in many processes; an error in one is an error here."""
    torch.multiprocessing.start_processes(_enter, (work, folder), nprocs=world, start_method="forkserver")


def _enter(rank: int, work: Work, folder: Path) -> None:
    faulthandler.dump_traceback_later(HANGS_S, exit=True)  # processes that wait for each other say where
    torch.set_num_threads(1)
    work(rank, folder)


@contextmanager
def among(rank: int, world: int, folder: Path, name: str, sequence: int = 1) -> Iterator[Group]:
    """The first ``world`` of the started processes are a group, who know each other through a file."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/{name}", rank=rank, world_size=world)
    try:
        with joined(Group(rank, world, torch.device("cpu"), sequence)) as group:
            yield group
    finally:
        dist.destroy_process_group()


def fusion_of(size: tuple[int, int, int, int], schedule: str, group: Group, **more: Any) -> SharedFusion:
    """Made-up windows are sampled by a group."""
    return SharedFusion(
        layout(*size[:3]), "cone", Schedule(schedule, size[3], 2.0), window_velocity, keyed_noise, group, **more
    )


def save_state(state: FusionState, path: Path) -> None:
    """Write a state as safetensors and JSON would hold it."""
    torch.save(({name: it.clone() for name, it in state.tensors.items()}, json.dumps(state.numbers)), path)


def load_state(path: Path) -> FusionState:
    """Read what ``save_state`` wrote."""
    tensors, numbers = torch.load(path)
    return FusionState(tensors, json.loads(numbers))


def sample_in_groups_of_2_3_and_4(rank: int, folder: Path) -> None:
    """All sizes and schedules, by groups of different numbers; the first process saves what comes out."""
    for world in (4, 3, 2):
        if rank >= world:
            return
        with among(rank, world, folder, f"meet-{world}") as group:
            for size, schedule in itertools.product(SIZES, SCHEDULES):
                fusion = fusion_of(size, schedule, group)
                most, segments = 0, []
                while not fusion.is_done:
                    fusion.advance()
                    most = max(most, fusion.latents_alive)
                    segments += [(segment.index, latents) for segment, latents in fusion.finished()]
                assert fusion.latents_alive == 0
                name = f"{world}-{'-'.join(map(str, size))}-{schedule}"
                torch.save(
                    {"segments": segments, "most": most, "sent": fusion.sent_bytes}, folder / f"{name}-{rank}.pt"
                )
            _stop_and_go_on(folder, group)


def _stop_and_go_on(folder: Path, group: Group) -> None:
    """A generation is stopped after some ticks, and gone on with by this and by smaller groups."""
    for ticks in STOPPED:
        fusion, before = fusion_of(RESUMED, "unipc", group), []
        for _ in range(ticks):
            fusion.advance()
            before += [latents for _, latents in fusion.finished()]
        # The second process wants to stop, and so all do.
        assert fusion.agreed(2 if group.rank == 1 else 0) == 2
        state = fusion.state()
        if group.is_first:
            save_state(state, folder / f"state-{group.world}-{ticks}.pt")
            torch.save(before, folder / f"before-{group.world}-{ticks}.pt")
        for of in (4, 3, 2):  # the states of larger groups are there already
            if of >= group.world:
                stored = load_state(folder / f"state-{of}-{ticks}.pt") if group.is_first else None
                rest = fusion_of(RESUMED, "unipc", group, resume=stored)
                after = [latents for _, latents in rest.run()]
                if group.is_first:
                    torch.save(after, folder / f"after-{of}-{ticks}-{group.world}.pt")
    # What one process began, many go on with.
    alone = folder / "state-1.pt"
    rest = fusion_of(RESUMED, "unipc", group, resume=load_state(alone) if group.is_first else None)
    after = [latents for _, latents in rest.run()]
    if group.is_first:
        torch.save(after, folder / f"after-1-{group.world}.pt")


HEADS: dict[str, Any] = {"num_attention_heads": 4, "attention_head_dim": 12, "num_layers": 1}
STEPS = 3


def model_video(group: Group, made: Layout | None = None) -> Tensor | None:
    """A true transformer of 4 heads samples a small video with guidance; the first process gets it."""
    from inference.guidance import Guidance, Scale  # and others that import diffusers, which takes seconds
    from inference.parallel.sequence import split_sequence
    from inference.predictor import Predictor
    from tests.support.tracks import CELLS, LATENTS, LENGTH, small_track
    from tests.support.wan_bases import small_model

    model = small_model(**HEADS)
    made = made or layout(LATENTS, LENGTH, 2)
    if group.sequence > 1:
        split_sequence(model, group)
    schedule = Schedule("euler", STEPS)
    predictor = Predictor(model, small_track(), Guidance(Scale.of("2"), Scale.of("1.5")), schedule.levels)

    def noise(first: int, n: int) -> Tensor:
        return keyed(1, first, n, (16, *CELLS))

    parts = [latents for _, latents in SharedFusion(made, "cone", schedule, predictor, noise, group).run()]
    return torch.cat(parts, 2) if parts else None


def model_in_rows_and_columns(rank: int, folder: Path) -> None:
    """A transformer by 2 x 2, 1 x 4, 1 x 2 and 2 x 1 processes (windows x sequence), and what caches would keep."""
    for world, sequence in ((4, 2), (4, 4), (2, 2), (2, 1)):
        if rank < world:
            with among(rank, world, folder, f"meet-{world}-{sequence}", sequence) as group:
                video = model_video(group)
                _keep_and_share_out(group)
            if rank == 0:
                torch.save(video, folder / f"video-{world // sequence}x{sequence}.pt")


def _keep_and_share_out(group: Group) -> None:
    """What each process keeps of its windows comes together, and comes back to it."""
    mine = {f"{window}/full": torch.tensor([window, group.rank]) for window in range(group.row, 9, group.rows)}
    found = shared_out(group, gathered(group, mine))
    assert set(found) == set(mine)
    assert all(torch.equal(found[key], mine[key]) for key in mine)


def refusals_of_a_row(rank: int, folder: Path) -> None:
    """Three processes cannot split 4 heads; two cannot split 3 tokens, or attend by a backend that is not told."""
    from inference.parallel.sequence import split_sequence
    from tests.support.wan_bases import inputs, small_model

    lines = []
    with among(rank, 3, folder, "meet-3", 3) as group:
        try:
            split_sequence(small_model(**HEADS), group)
        except UserError as error:
            lines.append(str(error))
    if rank == 2:
        return
    with among(rank, 2, folder, "meet-2", 2) as group:
        model = small_model(**HEADS)
        split_sequence(model, group)
        given = inputs()
        given["hidden_states"] = given["hidden_states"][:, :, :3, :2, :2]
        given["latent_positions"] = given["latent_positions"][:, :3]
        for ask in (lambda: model(**given), lambda: split_sequence(_by_math(small_model(**HEADS)), group)):
            try:
                ask()
            except UserError as error:
                lines.append(str(error))
    (folder / f"lines-{rank}").write_text("\n".join(lines))


def _by_math(model: Any) -> Any:
    for block in model.blocks:
        block.attn1.processor._attention_backend = "_native_math"
    return model


def say_what_ends_a_generation(rank: int, folder: Path, world: int, port: int, ends: str, timeout_s: float) -> None:
    """The last process ends in the middle in some way; the others write what they are told."""
    faulthandler.dump_traceback_later(HANGS_S, exit=True)
    torch.set_num_threads(1)
    told = {"RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()})  # as torchrun does
    try:
        with joined(from_environment(), timeout_s) as group:
            fusion = fusion_of((60, 8, 3, 4), "euler", group)
            (folder / f"began-{rank}").touch()
            while not fusion.is_done:
                fusion.advance()
                list(fusion.finished())
                if group.rank == world - 1 and fusion.evaluated >= 12:
                    _end(ends)
    except UserError as error:
        (folder / f"line-{rank}").write_text(str(error))


def _end(how: str) -> None:
    if how == "raises":
        raise UserError("no room on the disk")
    os.kill(os.getpid(), signal.SIGKILL if how == "killed" else signal.SIGSTOP)
