"""The OpenAPI description of the REST API, from the contract.

Schemas and their words come from protos/, query parameters from the function with which the gateway reads them; what
only REST has (paths, types of bodies, problems) stands here.
"""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from openapi_schemas import TEXT, WHOLE_32, Contract, Schema, listed, said_range, schemas

from showcause.gateway.rest_input import FORM_TYPE, JSON_TYPE, PHOTO_TYPES
from showcause.gateway.rest_output import NPZ_TYPE, PNG_TYPE
from showcause.gateway.rest_query import YES_OR_NO, Parameter, parameters

DESCRIPTION = """Predictions of image classifiers, with the reasons for them.

The messages are those of the gRPC contract, showcause.v1, as proto3 JSON: requests may also spell fields in camelCase,
give numbers as text, and null for what is not set. A photo is sent as the body, in a form, or as base64 in JSON; the
query parameters are the same for all three, and add to what a JSON body says."""

MODEL = "animals-bcos"
PICTURE = (  # 16 x 16 pixels
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQAQMAAAAlPW0iAAAABlBMVEXIeDwoUB5dab5uAAAAJklEQVR42mNggAHmB0wsAkwcHEwCLEwMDAj04Q/T"
    "jx9Mfz5AVAEAZlwG+AGS0BUAAAAASUVORK5CYII="
)
EXAMPLES = {
    "ExplainRequest": {"input": {"image": PICTURE}, "targets": [{"label": "cat"}, {"top_k": 1}]},
    "PredictRequest": {"input": {"image": PICTURE}, "prediction_count": 3},
}
PROBLEMS = {
    400: "The request is wrong, or this model cannot do what it asks.",
    401: "The service asks for a token (Authorization: Bearer TOKEN), and none came, or one that it does not know.",
    403: "The token is not good for this model.",
    404: "There is no such model, version or label.",
    405: "Another verb is allowed here: see Allow.",
    406: "None of the types in Accept is sent here.",
    413: "More bytes or pixels than the server takes.",
    415: "A body of this type is not read.",
    429: "The model's queue is full, or too many requests are being sent: try again later.",
    500: "A fault of the service; the request id finds it in the log.",
    503: "The engine or its worker is not there: try again.",
    504: "The time was up before the work was done.",
}
OF_WORK, OF_A_LIST = tuple(PROBLEMS), (400, 401, 405, 406, 500)
OF_A_MODEL = (*OF_A_LIST, 403, 404)


def document(contract: Contract) -> dict[str, Any]:
    """OpenAPI 3.1."""
    requests = schemas(contract, "request", "ExplainRequest", "PredictRequest")
    replies = schemas(
        contract,
        "reply",
        "ExplainResponse",
        "PredictResponse",
        "ListModelsResponse",
        "GetModelResponse",
        "GetChannelImportanceResponse",
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Showcause", "version": "v1", "description": DESCRIPTION},
        "servers": [{"url": "/"}],
        "paths": _paths(contract, requests),
        "components": {
            "schemas": {"Problem": _problem(contract), **replies, **requests},
            "responses": {str(status): _problem_response(status) for status in PROBLEMS},
            "headers": {
                "x-request-id": {"description": "Names this call in the log.", "schema": {"type": "string"}},
                "retry-after": {"description": "Seconds.", "schema": {"type": "integer"}},
                "www-authenticate": {"description": "What to send.", "schema": {"const": "Bearer"}},
            },
        },
    }


def _paths(contract: Contract, requests: dict[str, Schema]) -> dict[str, Any]:
    explained = {
        JSON_TYPE: _schema("reply.ExplainResponse"),
        PNG_TYPE: {"schema": {"type": "string", "contentMediaType": PNG_TYPE}},
        NPZ_TYPE: {"schema": {"type": "string", "contentMediaType": NPZ_TYPE}},
    }
    explain_answer = (
        "The answer. As image/png: the first picture of the first explanation, the overlay if none is asked for. As "
        "application/x-npz: the arrays map_0, weights_0 and so on, by the explanations' order, and reply, the bytes of "
        "all else as JSON."
    )
    return {
        "/v1/models/{model}:explain": {
            "post": _operation(contract, "Explain", "ExplainRequest", explain_answer, explained, OF_WORK)
            | {"requestBody": _body("ExplainRequest", contract, requests), "x-codeSamples": _samples(EXPLAIN_CALLS)}
        },
        "/v1/models/{model}:predict": {
            "post": _operation(
                contract, "Predict", "PredictRequest", "The answer.", _json("reply.PredictResponse"), OF_WORK
            )
            | {"requestBody": _body("PredictRequest", contract, requests), "x-codeSamples": _samples(PREDICT_CALLS)}
        },
        "/v1/models": {
            "get": _operation(
                contract, "ListModels", "ListModelsRequest", "A page.", _json("reply.ListModelsResponse"), OF_A_LIST
            )
            | {"x-codeSamples": _samples(["curl http://localhost:8080/v1/models"])}
        },
        "/v1/models/{model}": {
            "get": _operation(
                contract, "GetModel", "GetModelRequest", "The model.", _json("reply.GetModelResponse"), OF_A_MODEL
            )
            | {"x-codeSamples": _samples([f"curl http://localhost:8080/v1/models/{MODEL}"])}
        },
        "/v1/models/{model}/channels": {
            "get": _operation(
                contract,
                "GetChannelImportance",
                "GetChannelImportanceRequest",
                "The channels.",
                _json("reply.GetChannelImportanceResponse"),
                OF_A_MODEL,
            )
            | {"x-codeSamples": _samples(["curl 'http://localhost:8080/v1/models/animals-cnn/channels?label=cat'"])}
        },
        "/healthz": {"get": _probe("healthz", "Whether the service runs.", {200: "ok"})},
        "/readyz": {"get": _probe("readyz", "Whether the models answer.", {200: "ready", 503: "not ready"})},
    }


EXPLAIN_CALLS = [
    f"""curl -X POST -H 'content-type: image/jpeg' --data-binary @cat.jpg \\
     'http://localhost:8080/v1/models/{MODEL}:explain?target=cat&picture=overlay&output.map=true'""",
    f"""curl -X POST -H 'content-type: image/jpeg' -H 'accept: image/png' --data-binary @cat.jpg \\
     'http://localhost:8080/v1/models/{MODEL}:explain?target=cat' --output why.png""",
    f"""curl -F photo=@cat.jpg -F 'request={{"targets": [{{"top_k": 2}}]}};type=application/json' \\
     -H 'accept: application/x-npz' http://localhost:8080/v1/models/{MODEL}:explain --output why.npz""",
]
PREDICT_CALLS = [
    f"""curl -X POST -H 'content-type: image/jpeg' --data-binary @cat.jpg \\
     'http://localhost:8080/v1/models/{MODEL}:predict?prediction_count=3'""",
]


def _operation(
    contract: Contract, name: str, request: str, answer: str, content: dict[str, Any], problems: tuple[int, ...]
) -> dict[str, Any]:
    message = contract.message(request)
    given: list[dict[str, Any]] = []
    if "model" in message.fields_by_name:
        path = {"name": "model", "in": "path", "required": True, "description": "Name of a served model."}
        given.append(path | {"schema": {"type": "string", "pattern": "^[^/:]+$", "examples": [MODEL]}})
    given += [_parameter(contract, one) for one in parameters(message).values()]
    given.append(_header())
    return {
        "operationId": name,
        "summary": contract.comment(f"ExplanationService.{name}"),
        "parameters": given,
        "responses": {"200": _answer(answer, content)}
        | {str(status): {"$ref": f"#/components/responses/{status}"} for status in problems},
    }


def _parameter(contract: Contract, parameter: Parameter) -> dict[str, Any]:
    described = " ".join(filter(None, (contract.comment(parameter.field.full_name), parameter.note)))
    return {"name": parameter.name, "in": "query", "description": described, "schema": _of_text(contract, parameter)}


def _of_text(contract: Contract, parameter: Parameter) -> Schema:
    """The schema of what a parameter's text says."""
    plain: dict[int, Schema] = {
        FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32", **WHOLE_32},
        FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    }
    comment = contract.comment(parameter.field.full_name)
    schema = plain.get(parameter.field.type, TEXT) | said_range(parameter.field, comment)
    if parameter.choices:
        yes_or_no = parameter.choices == YES_OR_NO
        schema = {"type": "boolean"} if yes_or_no else {"type": "string", "enum": list(parameter.choices)}
    if parameter.pattern:
        schema = {"type": "string", "pattern": parameter.pattern}
    return {"type": "array", "items": schema} if parameter.repeatable else schema


def _header() -> dict[str, Any]:
    text = "Names this call in replies and logs: 1 to 128 of A-Z a-z 0-9 . _ : / + = @ -. Any other is replaced."
    return {"name": "x-request-id", "in": "header", "description": text, "schema": {"type": "string"}}


def _body(request: str, contract: Contract, requests: dict[str, Schema]) -> dict[str, Any]:
    photo = {"type": "string", "contentMediaType": "image/*", "description": contract.comment("Input.image")}
    raw = photo | {"description": "The photo as it is."}
    region = {"region": requests["request.Input"]["properties"]["region"]}
    whole = requests[f"request.{request}"]
    beside = whole | {"description": "The request as JSON, without a photo.", "required": []}
    beside["properties"] = whole["properties"] | {
        "input": {"type": "object", "properties": region, "additionalProperties": False}
    }
    fields = {one.name: _of_text(contract, one) for one in parameters(contract.message(request)).values()}
    form = {
        "type": "object",
        "description": "The photo, and the request as JSON, or as fields named like the query parameters.",
        "properties": {"photo": photo, "request": beside, **fields},
        "required": ["photo"],
        "additionalProperties": False,
    }
    encoding = {"photo": {"contentType": "image/*"}, "request": {"contentType": JSON_TYPE}}
    content = _json(f"request.{request}")
    content[JSON_TYPE]["example"] = EXAMPLES[request]
    content[FORM_TYPE] = {"schema": form, "encoding": encoding}
    return {"required": True, "content": content | {name: {"schema": raw} for name in PHOTO_TYPES}}


def _probe(name: str, summary: str, states: dict[int, str]) -> dict[str, Any]:
    def content(state: str) -> dict[str, Any]:
        schema = {"type": "object", "properties": {"status": {"const": state}}, "required": ["status"]}
        return {JSON_TYPE: {"schema": schema}}

    responses = {
        str(status): {"description": f"It is {state}.", "content": content(state)} for status, state in states.items()
    }
    return {"operationId": name, "summary": summary, "responses": responses}


def _problem(contract: Contract) -> Schema:
    reasons = contract.pool.FindEnumTypeByName("showcause.v1.ErrorReason").values[1:]
    texts = {
        "title": "The canonical code, such as INVALID_ARGUMENT.",
        "detail": "For people: names the field, the value and what is allowed where they apply.",
        "field": "The path in the request, or the name of the parameter.",
        "value": "What was sent, shortened.",
        "allowed": "What would have been accepted.",
        "request_id": "Names this call in the log.",
    }
    return {
        "description": "Why a request has no answer (RFC 9457).",
        "type": "object",
        "properties": {
            "type": {"const": "about:blank"},
            "status": {"type": "integer", "description": "The HTTP status."},
            "reason": {
                "type": "string",
                "description": f"Why, for programs.\n\n{listed(contract, reasons, 'ERROR_REASON_')}",
                "enum": [reason.name.removeprefix("ERROR_REASON_") for reason in reasons],
            },
            **{name: {"type": "string", "description": text} for name, text in texts.items()},
        },
        "required": ["type", "title", "status", "detail", "reason", "request_id"],
        "additionalProperties": False,
    }


def _problem_response(status: int) -> dict[str, Any]:
    response = _answer(PROBLEMS[status], {"application/problem+json": _schema("Problem")})
    for header, statuses in (("retry-after", (429, 503)), ("www-authenticate", (401,))):
        if status in statuses:
            response["headers"][header] = {"$ref": f"#/components/headers/{header}"}
    return response


def _answer(text: str, content: dict[str, Any]) -> dict[str, Any]:
    headers = {"x-request-id": {"$ref": "#/components/headers/x-request-id"}}
    return {"description": text, "headers": headers, "content": content}


def _json(schema: str) -> dict[str, Any]:
    return {JSON_TYPE: _schema(schema)}


def _schema(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def _samples(calls: list[str]) -> list[dict[str, str]]:
    return [{"lang": "sh", "source": call} for call in calls]
