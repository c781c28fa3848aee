"""The OpenAPI 3.1 document: every request that the service answers, and the shipped schema of results."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

__all__ = ["document", "frame_schema"]

_ABOUT = """\
Faces of one camera, and of pictures that are sent: boxes, 68 landmarks, a parsing map and an expression each.
Everything runs on the device; nothing is stored, and nothing is sent anywhere unless whoever started the
service named an MQTT broker.

WebSockets, which OpenAPI cannot describe: `/ws` sends each result as text, the same JSON as `/events`;
`/ws?frames=1` sends bytes, which are the length of the JSON (4 bytes, big-endian), the JSON and a JPEG, and
wants any message in answer to each; `/ws/analyze` takes pictures as binary messages and answers each with its
result.
"""

_STREAM = {
    "type": "object",
    "description": "How the frame came here. Times in nanoseconds.",
    "required": ["number", "age_ns", "took_ns", "dropped", "dropped_total", "fps"],
    "properties": {
        "number": {"type": "integer", "minimum": 1},
        "age_ns": {"type": "integer", "description": "From the camera's time of the frame to its result."},
        "took_ns": {"type": "integer", "minimum": 0},
        "dropped": {"type": "integer", "minimum": 0, "description": "Frames dropped since the last result."},
        "dropped_total": {"type": "integer", "minimum": 0},
        "fps": {"type": "number", "minimum": 0},
    },
}
_COUNTS = {
    "type": "object",
    "description": "All that is told where the privacy is `counts`.",
    "required": ["schema", "timestamp_ns", "faces"],
    "properties": {
        "schema": {"const": "edgeface.counts/1"},
        "timestamp_ns": {"type": "integer"},
        "faces": {"type": "integer", "minimum": 0},
        "facing": {"type": "integer", "minimum": 0, "description": "How many face the camera."},
        "events": {"type": "array", "items": {"type": "object"}},
        "stream": {"$ref": "#/components/schemas/Stream"},
    },
}
_ERROR = {
    "type": "object",
    "required": ["schema", "error"],
    "properties": {
        "schema": {"const": "edgeface.error/1"},
        "error": {"type": "string", "description": "What is wrong, and the mend."},
    },
}
_STATE = {
    "type": "object",
    "required": ["schema", "running", "camera", "cameras", "tasks", "fault", "privacy", "fps", "dropped"],
    "properties": {
        "schema": {"const": "edgeface.state/1"},
        "running": {"type": "boolean"},
        "camera": {"type": ["string", "null"]},
        "cameras": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["key", "title"],
                "properties": {"key": {"type": "string"}, "title": {"type": "string"}},
            },
        },
        "tasks": {"type": "array", "items": {"type": "string"}},
        "lost": {"type": "string", "description": "Why the camera gives no frames now; empty when it does."},
        "fault": {"type": "string", "description": "Why the camera ended; empty when nothing went wrong."},
        "privacy": {"enum": ["off", "blur", "mask", "counts"]},
        "fps": {"type": "number"},
        "latency_ms": {"type": "object"},
        "dropped": {"type": "integer"},
        "temperature_c": {"type": ["number", "null"]},
        "outlets": {
            "type": "object",
            "description": "Where results go by themselves, and whether somebody takes them there.",
            "additionalProperties": {"type": "boolean"},
        },
    },
}
_CHOICE = {
    "type": "object",
    "required": ["camera"],
    "properties": {
        "camera": {"type": "string", "description": "A `key` of `cameras` in /state."},
        "tasks": {
            "type": "array",
            "items": {"enum": ["landmarks", "parsing", "expression"]},
            "description": "What to find in each face; absent: what the service was started with.",
        },
    },
}
_BYTES = {"type": "string", "format": "binary"}


def document(version: str, *, guarded: bool) -> dict[str, Any]:
    """Return the document.

    Args:
        version: of EdgeFace.
        guarded: a token is asked for.
    """
    schemas = _result_schemas()
    schemas |= {"Stream": _STREAM, "Counts": _COUNTS, "Error": _ERROR, "State": _STATE, "Choice": _CHOICE}
    paths: dict[str, Any] = {
        "/analyze": {"post": _analyze()},
        "/state": {"get": _operation("state", "What is on, and what there is to choose", _json("State"))},
        "/camera": {
            "post": {
                **_operation(
                    "start", "Start a camera, or the one that is on with other tasks", _json("State")
                ),
                "requestBody": {"required": True, "content": _json("Choice")},
            },
            "delete": _operation("stop", "Stop the camera", _json("State")),
        },
        "/snapshot.jpg": {
            "get": {**_operation("snapshot", "The newest picture", _media("image/jpeg")), **_OVERLAY}
        },
        "/stream.mjpg": {
            "get": {
                **_operation("mjpeg", "Pictures, one after the other", _media("multipart/x-mixed-replace")),
                **_OVERLAY,
            }
        },
        "/events": {
            "get": _operation(
                "events", "Results as Server-Sent Events of the type `result`", _media("text/event-stream")
            )
        },
        "/healthz": {
            "get": {
                **_operation("health", "Whether the service runs", {"application/json": {"schema": _HEALTH}}),
                "security": [],
            }
        },
        "/metrics": {"get": _operation("metrics", "Numbers for Prometheus", _media("text/plain"))},
        "/schema.json": {
            "get": _operation(
                "schema", "The JSON schema of a result", _media("application/json", {"type": "object"})
            )
        },
        "/openapi.json": {
            "get": _operation("openapi", "This document", _media("application/json", {"type": "object"}))
        },
        "/login": {"post": _login()},
    }
    told: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "EdgeFace", "version": version or "0", "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "edgeface"},
            },
        },
    }
    if guarded:
        told["security"] = [{"token": []}, {"cookie": []}]
    return told


def frame_schema() -> dict[str, Any]:
    """Return the schema of results that the package ships."""
    values: dict[str, Any] = json.loads(files("edgeface").joinpath("schema.json").read_text(encoding="utf-8"))
    return values


_HEALTH = {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}}
_OVERLAY = {
    "parameters": [
        {
            "name": "overlay",
            "in": "query",
            "description": "0: the picture alone.",
            "schema": {"enum": ["0", "1"], "default": "1"},
        }
    ]
}


def _result_schemas() -> dict[str, Any]:
    """The shipped schema, its parts where OpenAPI looks for them."""
    text = json.dumps(frame_schema()).replace('"#/$defs/', '"#/components/schemas/')
    schema: dict[str, Any] = json.loads(text)
    parts: dict[str, Any] = schema.pop("$defs")
    for key in ("$schema", "$id"):
        schema.pop(key)
    schema["properties"]["stream"] = {"$ref": "#/components/schemas/Stream"}
    return {"FrameResult": schema, **parts}


def _analyze() -> dict[str, Any]:
    either = {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("FrameResult", "Counts")]}
    form = {"type": "object", "required": ["image"], "properties": {"image": _BYTES}}
    kinds = ("image/jpeg", "image/png", "image/webp", "image/bmp", "application/octet-stream")
    return {
        **_operation(
            "analyze", "Find and describe the faces of a picture", _media("application/json", either)
        ),
        "requestBody": {
            "required": True,
            "description": "JPEG, PNG, BMP or WebP: as it is, or as the field `image` of a form.",
            "content": {
                **{kind: {"schema": _BYTES} for kind in kinds},
                "multipart/form-data": {"schema": form},
            },
        },
    }


def _login() -> dict[str, Any]:
    token = {"type": "object", "required": ["token"], "properties": {"token": {"type": "string"}}}
    operation = _operation("login", "Get the page's cookie for the token", {})
    operation["responses"] = {
        "204": {"description": "The cookie"},
        "default": operation["responses"]["default"],
    }
    body = {"required": True, "content": {"application/json": {"schema": token}}}
    return {**operation, "requestBody": body, "security": []}


def _operation(name: str, summary: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": summary, "content": content},
            "default": {"description": "What is wrong, and the mend", "content": _json("Error")},
        },
    }


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _media(kind: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {kind: {"schema": schema or {"type": "string"}}}
