"""This module describes the server's API as an OpenAPI 3.1 document, which ``/openapi.json`` sends.

https://spec.openapis.org/oas/v3.1.1
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

from inference.serving.jobs import Limits
from inference.serving.options import OPTIONS, option_schema
from inference.serving.records import JOB_ID, STATES

Json = dict[str, Any]

_ERRORS = {
    "400": "The form, or an option in it, is not what is asked for.",
    "401": "The token is missing, or is another one.",
    "403": "The server does not answer to this Host, or another site's page asks.",
    "404": "There is no such job.",
    "408": "The form did not come on.",
    "409": "The job's state does not allow it.",
    "413": "A file, or the form, is larger than it may be.",
    "503": "The server's storage refuses, or the server is closing.",
    "507": "The server's disk is full.",
}
_EVERYWHERE = ("401", "403")
_RANGE: Json = {
    "name": "Range",
    "in": "header",
    "description": "Part of the film, as players ask for it: RFC 9110, section 14.",
    "schema": {"type": "string"},
    "example": "bytes=0-1023",
}


def document(limits: Limits) -> Json:
    """The document is returned, as JSON can hold it.

    Args:
        limits: those of the server, which it states.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "funnel serve",
            "summary": "Talking portraits from a picture and a voice.",
            "description": "Send a form to /api/jobs, ask for the job until its state is done, and take its film.",
            "version": _version(),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": {
            "/api/server": {
                "get": _operation("server", "The model, the limits, the options, and whether another job can wait.")
                | _responses({"200": _json("How the server is set up.", "Server")})
            },
            "/api/jobs": {"get": _list(), "post": _submit(limits)},
            "/api/jobs/{id}": {"parameters": [_id()], "get": _get(), "delete": _remove()},
            "/api/jobs/{id}/again": {"parameters": [_id()], "post": _again()},
            "/api/jobs/{id}/film": {"parameters": [_id()], "get": _film()},
        },
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "The token of this start of the server."}
            },
            "schemas": _schemas(limits),
        },
    }


def _version() -> str:
    try:
        return metadata.version("portrait-funnel")
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return "0"


def _list() -> Json:
    listed = {"type": "object", "required": ["jobs"], "properties": {"jobs": {"type": "array", "items": _ref("Job")}}}
    answer = {"description": "Newest first.", "content": {"application/json": {"schema": listed}}}
    return _operation("listJobs", "All jobs.") | _responses({"200": answer})


def _submit(limits: Limits) -> Json:
    form = {"required": True, "content": {"multipart/form-data": {"schema": _form(limits)}}}
    made = _json("The job waits.", "Job")
    made["headers"] = {"Location": {"description": "Where to ask for it.", "schema": {"type": "string"}}}
    made["links"] = {
        name: {"operationId": name, "parameters": {"id": "$response.body#/id"}}
        for name in ("getJob", "removeJob", "getFilm", "makeAgain")
    }
    answers = {"201": made, "429": _full()} | _errors("400", "408", "413", "503", "507")
    return _operation("submitJob", "Asks for a film.") | {"requestBody": form} | _responses(answers)


def _form(limits: Limits) -> Json:
    def file(about: str, most: int) -> Json:
        kind = {"type": "string", "contentMediaType": "application/octet-stream"}
        return kind | {"minLength": 1, "description": f"{about} At most {most} bytes."}

    return {
        "type": "object",
        "required": ["portrait", "sound"],
        "additionalProperties": False,
        "properties": {
            "portrait": file("The picture: any common format.", limits.portrait_bytes),
            "sound": file("The voice: any common format.", limits.sound_bytes),
            **{name: option_schema(name) for name in OPTIONS},
        },
    }


def _get() -> Json:
    return _operation("getJob", "One job and its progress.") | _responses({"200": _json("The job.", "Job")}, "404")


def _remove() -> Json:
    gone = {"204": {"description": "Nothing of the job is left."}}
    return _operation("removeJob", "Cancels a job, or removes one with its film.") | _responses(gone, "404")


def _again() -> Json:
    answers = {"200": _json("The job waits again.", "Job"), "429": _full()} | _errors("404", "409", "503", "507")
    return _operation("makeAgain", "Lets a job go on that the end of the server interrupted.") | _responses(answers)


def _film() -> Json:
    film = {"content": {"video/mp4": {"schema": {"type": "string", "contentMediaType": "video/mp4"}}}}
    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    parts = {"content": {**film["content"], "multipart/byteranges": {"schema": {"type": "string"}}}}
    answers = {
        "200": {"description": "The film.", **film},
        "206": {"description": "Part of it.", **parts},
        "400": {"description": "The Range header is no range.", **text},
        "416": {"description": "The film has no such part.", **text},
    }
    operation = _operation("getFilm", "The film of a job that is done.") | {"parameters": [_RANGE]}
    return operation | _responses(answers | _errors("404", "409"))


def _operation(name: str, summary: str) -> Json:
    return {"operationId": name, "summary": summary}


def _responses(answers: Json, *errors: str) -> Json:
    return {"responses": dict(sorted((answers | _errors(*errors, *_EVERYWHERE)).items()))}


def _errors(*codes: str) -> Json:
    return {code: _json(_ERRORS[code], "Error") for code in codes}


def _full() -> Json:
    seconds = {"description": "Seconds after which it is worth asking again.", "schema": {"type": "integer"}}
    return {**_json("As many jobs wait as may wait.", "Error"), "headers": {"Retry-After": seconds}}


def _json(about: str, schema: str) -> Json:
    return {"description": about, "content": {"application/json": {"schema": _ref(schema)}}}


def _ref(schema: str) -> Json:
    return {"$ref": f"#/components/schemas/{schema}"}


def _id() -> Json:
    schema = {"type": "string", "pattern": f"^{JOB_ID.pattern}$"}
    return {"name": "id", "in": "path", "required": True, "schema": schema}


def _schemas(limits: Limits) -> Json:
    time = {"type": "string", "format": "date-time"}
    perhaps = {"type": ["string", "null"], "format": "date-time"}
    options = {name: option_schema(name) for name in OPTIONS}
    for schema in options.values():
        if "default" not in schema:
            schema["type"] = [schema["type"], "null"]
    count = {"type": "integer", "minimum": 0}
    return {
        "Error": _object({"error": {"type": "string", "description": "One line for people."}}),
        "Job": _object(
            {
                "id": {"type": "string", "pattern": f"^{JOB_ID.pattern}$"},
                "options": _object(options),
                "state": {"enum": list(STATES)},
                "created_at": time,
                "started_at": perhaps,
                "ended_at": perhaps,
                "error": {"type": "string", "description": "Why it failed or was interrupted; else empty."},
                "notes": {"type": "array", "items": {"type": "string"}, "description": "What to know of the film."},
                "film_bytes": count | {"description": "Size of the film; 0 until the job is done."},
                "place": count | {"description": "How many jobs begin before this one."},
                "progress": {"oneOf": [_ref("Progress"), {"type": "null"}]},
            }
        ),
        "Progress": _object(
            {
                "phase": {"type": "string", "description": "What is being done, in a word or two."},
                "done": count,
                "total": count,
                "eta_s": {"type": ["number", "null"], "description": "Seconds until the film is whole."},
                "frames_written": count,
            }
        ),
        "Server": _object(
            {
                "model": {"type": "object", "description": "What is known of the model."},
                "limits": _object({name: {"type": "integer"} for name in vars(limits)}),
                "options": {"type": "object", "description": "JSON Schema of each option, by name."},
                "accepts": {"type": "boolean", "description": "Whether another job can wait now."},
            }
        ),
    }


def _object(properties: Json) -> Json:
    return {
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties,
    }
