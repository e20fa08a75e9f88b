"""Lots go to Label Studio and answers come back: tasks and export as JSON, the labelling interface as XML.

A task is one item, named by lot, number and clip. In a user study its data names neither source nor file, which could
influence the answer. Answers are named by what they mean, not by what the interface shows (``alias``): verdicts,
reasons and, for each axis of a user study, its level.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args
from xml.sax.saxutils import quoteattr

import pyarrow as pa

from catalogs.errors import UserError
from curation.annotation.exchange import checked_answer
from curation.annotation.questions import AXES, LEVELS, Axis, question
from curation.annotation.records import PLACE, Answer, Lot, Mode, Verdict

_STUDY = {"scale": "How good is this clip?", "pair": "Which of the two is better?"}
_PAIR_LEVELS = ("A", "equal", "B")


# --- out --------------------------------------------------------------------------------------------------------------


def label_studio_tasks(lot: Lot, items: pa.Table, media_url: str) -> list[dict[str, Any]]:
    """Make tasks for Label Studio's import.

    Args:
        media_url: where its browser finds a clip's picture and sound: a template with {clip_id}, {number}, {source_id},
            {path}, {start_s} or {end_s}, as in ``http://host/clips/{clip_id}.mp4``.

    Raises:
        UserError: the template has other names in it, or sends both clips of a pair to one address.
    """
    return [{"data": _task_data(lot, row, media_url)} for row in items.to_pylist()]


def label_studio_config(lot: Lot) -> str:
    """Write the labelling interface for the tasks."""
    return _verdict_config(lot) if lot.mode == "verdict" else _study_config(lot.mode)


def _task_data(lot: Lot, row: Mapping[str, Any], media_url: str) -> dict[str, Any]:
    place = {"number": row["number"]} | {name: row[name] for name in PLACE}
    data = {"video": _address(media_url, place), "lot": lot.name, "question": _asked(lot)}
    if lot.mode == "verdict":
        return data | place
    data |= {name: place[name] for name in ("number", "clip_id")}
    if lot.mode == "pair":
        other = _address(media_url, {"number": row["number"]} | {name: row[f"other_{name}"] for name in PLACE})
        if other == data["video"]:
            raise UserError(f"media URL {media_url!r} is the same for both clips of a pair: use {{clip_id}} in it")
        data |= {"other_video": other, "other_clip_id": row["other_clip_id"]}
    return data


def _address(media_url: str, place: Mapping[str, Any]) -> str:
    try:
        return media_url.format(**place)
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"media URL {media_url!r}: only {', '.join(f'{{{name}}}' for name in place)} fit") from error


def _asked(lot: Lot) -> str:
    return question(lot.stage, lot.side).text if lot.mode == "verdict" else _STUDY[lot.mode]


def _verdict_config(lot: Lot) -> str:
    verdicts = "".join(f"<Choice value={quoteattr(name)}/>" for name in get_args(Verdict))
    offered = question(lot.stage, lot.side).all_reasons
    reasons = "".join(f"<Choice value={quoteattr(reason.key)} hint={quoteattr(reason.label)}/>" for reason in offered)
    return (
        f'<View><Header value={quoteattr(_asked(lot))}/><Video name="video" value="$video"/>\n'
        f'<Choices name="verdict" toName="video" choice="single" required="true">{verdicts}</Choices>\n'
        f'<Choices name="reasons" toName="video" choice="multiple">{reasons}</Choices>\n'
        f'<TextArea name="note" toName="video"/></View>\n'
    )


def _study_config(mode: Mode) -> str:
    """Write the interface of a user study; every control names the first video, because Label Studio needs one."""
    videos = '<Video name="video" value="$video"/>'
    if mode == "pair":
        videos = (
            '<View style="display: flex">\n'
            '<View style="width: 50%"><Header value="A"/><Video name="video" value="$video"/></View>\n'
            '<View style="width: 50%"><Header value="B"/><Video name="other_video" value="$other_video"/></View>\n'
            "</View>"
        )
    axes = "".join(f"{_axis_config(axis, mode)}\n" for axis in AXES)
    return (
        f"<View><Header value={quoteattr(_STUDY[mode])}/>\n{videos}\n"
        f'{axes}<TextArea name="note" toName="video"/></View>\n'
    )


def _axis_config(axis: Axis, mode: Mode) -> str:
    labels = _PAIR_LEVELS if mode == "pair" else axis.levels
    levels = "".join(
        f'<Choice value={quoteattr(label)} alias="{level}"/>' for level, label in zip(LEVELS[mode], labels, strict=True)
    )
    control = f'<Choices name="{axis.key}" toName="video" choice="single" showInline="true" required="true">'
    return f"<Header value={quoteattr(axis.asked(mode))}/>{control}{levels}</Choices>"


# --- in ---------------------------------------------------------------------------------------------------------------


def read_label_studio(lot: Lot, items: pa.Table, text: str) -> list[Answer]:
    """Read answers from Label Studio's JSON export; raise UserError with the task that is wrong.

    Skipped tasks and drafts are no answers.
    """
    try:
        tasks = json.loads(text)
    except ValueError as error:
        raise UserError(f"not JSON: {error}") from error
    if not isinstance(tasks, list):
        raise UserError("not a Label Studio export: a list of tasks was expected")
    answers = []
    for position, task in enumerate(tasks):
        where = f"task {position}"
        try:
            data, annotations = task["data"], task["annotations"]
            if data["lot"] != lot.name:
                raise UserError(f"{where}: it belongs to lot {data['lot']!r}, not {lot.name!r}")
            rows = [_row(lot, data, given) for given in annotations if not given.get("was_cancelled")]
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            raise UserError(f"{where}: not as Label Studio exports it ({error!r})") from error
        answers += [checked_answer(lot, items, row, where) for row in rows]
    return answers


def _row(lot: Lot, data: Mapping[str, Any], annotation: Mapping[str, Any]) -> dict[str, Any]:
    given = {result["from_name"]: result["value"] for result in annotation["result"]}
    by = annotation["completed_by"]
    annotator = by.get("email") or by["id"] if isinstance(by, dict) else by
    is_verdict = lot.mode == "verdict"
    return {
        "number": data["number"],
        "clip_id": data["clip_id"],
        "annotator": str(annotator).split("@")[0],
        "verdict": given["verdict"]["choices"][0] if is_verdict else "",
        "reasons": given.get("reasons", {}).get("choices", []),
        "note": "\n".join(given.get("note", {}).get("text", [])),
        "seconds": float(annotation.get("lead_time") or 0),
        "scores": {} if is_verdict else _scores(given),
    }


def _scores(given: Mapping[str, Any]) -> dict[str, int]:
    """Read the score of every axis; the interface requires them all."""
    return {axis.key: int(given[axis.key]["choices"][0]) for axis in AXES}
