"""JSON Schema (draft 2020-12) of what travels: jobs, news of them, dead letters.

Whatever `parse_job` takes is valid here. The reverse holds but for what a schema cannot say, such as
that `near` lies before `far`: the last word is `parse_job`'s.
"""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from anerf.jobs import values
from anerf.jobs.spec import EvalJob, TrainJob, VideoJob, ViewJob
from anerf.jobs.topics import MESSAGE_VERSION

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

_STEP = {"type": "integer", "minimum": 0, "maximum": 1_000_000}
_SECONDS = {"type": "number", "exclusiveMinimum": 0, "maximum": 86_400}
_DIGITS = {"type": "string", "pattern": r"^\s*[0-9]{1,9}\s*$"}
_LIST = r"^\s*[0-9]{1,9}\s*(,\s*[0-9]{1,9}\s*)*$"
_ACCEPTED: dict[Callable[..., object], Schema] = {
    values.name: {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"},
    values.checkpoint_prefix: {"type": "string", "pattern": "^(best|last|step[0-9]{1,12})$"},
    values.camera_path: {
        "type": "string",
        "pattern": r"^(?!.*[\u0000-\u001f\u007f])(" + "|".join(values.CANNED_PATHS) + r"|.*\.json)$",
        "maxLength": 4096,
    },
    values.steps: {
        "anyOf": [
            _STEP,
            {"type": "string", "pattern": _LIST},
            {"type": "array", "minItems": 1, "items": {"anyOf": [_STEP, _DIGITS]}},
        ]
    },
    values.seconds: {
        "anyOf": [
            _SECONDS,
            {"type": "string", "pattern": "^[^,]+(,[^,]+)*$"},
            {"type": "array", "minItems": 1, "items": {"anyOf": [_SECONDS, {"type": "string"}]}},
        ]
    },
    values.devices: {
        "anyOf": [
            {"type": "null"},
            {"const": "all"},
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": _LIST},
            {
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": [{"type": "integer", "minimum": 0}, _DIGITS]},
            },
        ]
    },
    values.background: {
        "anyOf": [
            {"enum": ["random", "white", "black"]},
            {
                "type": "array",
                "minItems": 3,
                "maxItems": 3,
                "items": {"type": "number", "minimum": 0, "maximum": 1},
            },
        ]
    },
}
"""What people may write where a validator of ours makes it what the job needs."""

_LIMITS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
_MODELS: tuple[type[BaseModel], ...] = (TrainJob, EvalJob, ViewJob, VideoJob)
_GIVEN = {"type": "string"}
_LINES = (values.line, values.location)
_SCENE = {
    "anyOf": [
        {"required": ["scene"], "properties": {"scene": _GIVEN}},
        {"required": ["data_dirname"], "properties": {"data_dirname": _GIVEN}},
    ]
}
_CHECKPOINT = {"required": ["checkpoint_path"], "properties": {"checkpoint_path": _GIVEN}}
_STORED = {"required": ["use_stored_args"], "properties": {"use_stored_args": {"const": True}}}
_NEEDED: dict[type[BaseModel], list[Schema]] = {
    TrainJob: [_SCENE],
    EvalJob: [{"anyOf": [*_SCENE["anyOf"], _STORED]}, _CHECKPOINT],
    ViewJob: [_CHECKPOINT],
    VideoJob: [_CHECKPOINT],
}
_EXAMPLES = [
    {"op": "train", "job_id": "block-1", "scene": "scenes/block", "outer_steps": 2000},
    {
        "op": "eval",
        "scene": "scenes/block",
        "checkpoint_path": "logs/block-1",
        "batch": "after",
        "tto": "1,16",
    },
    {"op": "view", "checkpoint_path": "logs/block-1", "port": 7070},
    {"op": "video", "checkpoint_path": "logs/block-1", "camera_path": "turntable", "seconds": 8},
]


class _OurSchema(GenerateJsonSchema):
    """pydantic's schema, with what our own validators accept, and without titles that repeat the name."""

    def function_before_schema(self, schema: Any) -> Schema:
        function = schema["function"]["function"]
        if function in _ACCEPTED:
            return dict(_ACCEPTED[function])
        inner = super().function_before_schema(schema)
        return {**inner, "pattern": r"^[^\u0000-\u001f\u007f]*$"} if function in _LINES else inner

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def job_models(ref: str = "#/$defs/{model}") -> dict[str, Schema]:
    """The schema of each kind of job, by the name of its model; references between them follow `ref`."""
    found = {
        model.__name__: model.model_json_schema(ref_template=ref, schema_generator=_OurSchema)
        for model in _MODELS
    }
    shared = {name for schema in found.values() for name in schema["properties"]}
    for model in _MODELS:
        schema = found[model.__name__] = _with_limits(found[model.__name__])
        properties = schema["properties"]
        properties["job_id"] = {
            "anyOf": [_ACCEPTED[values.name], {"type": "null"}],
            "description": "The job's name and its folder's; made up where it is not given.",
        }
        for name in sorted(shared - properties.keys()):
            properties[name] = {"description": "Accepted and ignored: a field of other kinds of jobs."}
        properties["max_res"] = {**properties["max_resolution"], "description": "Older name: max_resolution."}
        schema["required"] = [name for name in schema.get("required", []) if name != "job_id"]
        schema["allOf"] = _NEEDED[model]
    return found


def job_schema() -> Schema:
    """Of the value of a message on the job topic, and of a job file."""
    models = job_models()
    return {
        "$schema": DIALECT,
        "$id": f"urn:anerf:job:{MESSAGE_VERSION}",
        "title": "anerf job",
        "description": "One flat object; `op` says what to do, and a job without it is a training.",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in models],
        "examples": _EXAMPLES,
        "$defs": models,
    }


def _with_limits(schema: Any) -> Any:
    """The same with JSON Schema's names for limits, which pydantic leaves as they are after a validator."""
    match schema:
        case dict():
            is_type = "type" in schema
            return {_LIMITS.get(k, k) if is_type else k: _with_limits(v) for k, v in schema.items()}
        case list():
            return [_with_limits(item) for item in schema]
        case _:
            return schema
