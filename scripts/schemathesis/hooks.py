"""What schemathesis has to know of Kubernetes.

The published documents leave three things to convention, and so does upstream's: errors are `Status` objects, a watch is
a stream of events, and a deletion answers with a `Status` or with the object. Here they are written into the documents
before the run, so that every reply is held to something. Besides, generated requests are led to objects that exist:
bare generated data hardly ever passes validation.
"""

import base64
import copy
import json
import os
import random
import zlib

import schemathesis
import yaml
from schemathesis.core import NotSet

STATUS = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"
ERRORS = (400, 403, 404, 405, 406, 409, 410, 413, 415, 422, 429)
CONNECT = ("/proxy", "/exec", "/attach", "/portforward", "/log")
DEPTH = int(os.environ.get("SCHEMATHESIS_DEPTH", "0"))
HERE = os.path.dirname(os.path.abspath(__file__))
POINTERS = [
    "",
    "/kind",
    "/metadata/name",
    "/metadata/labels",
    "/metadata/labels/a",
    "/metadata/annotations/a~1b",
    "/metadata/ownerReferences/0",
    "/spec",
    "/spec/x",
    "/spec/containers/-",
    "/spec/template/spec/containers/0/image",
    "/status",
    "/data/a",
    "/~2",
]
NAMES = [f"s-{number}" for number in range(6)]


def samples():
    with open(os.path.join(HERE, "samples.yaml"), encoding="utf-8") as file:
        listed = yaml.safe_load(file)
    return {(sample["apiVersion"], sample["kind"]): sample for sample in listed}


SAMPLES = samples()
with open(os.environ["SCHEMATHESIS_CSR"], encoding="utf-8") as file:
    SAMPLES["certificates.k8s.io/v1", "CertificateSigningRequest"]["spec"]["request"] = file.read().strip()


@schemathesis.hook
def before_load_schema(context, raw_schema):
    schemas = raw_schema.setdefault("components", {}).setdefault("schemas", {})
    if STATUS not in schemas:
        schemas[STATUS] = {"type": "object", "properties": {"status": {"type": "string"}, "code": {"type": "integer"}}}
    schemas["StatusOfError"] = {
        "allOf": [{"$ref": f"#/components/schemas/{STATUS}"}],
        "properties": {
            "kind": {"enum": ["Status"]},
            "apiVersion": {"enum": ["v1"]},
            "status": {"enum": ["Failure"]},
        },
        "required": ["kind", "apiVersion", "status", "code", "message"],
    }
    for schema in schemas.values():
        for name, field in schema.get("properties", {}).items():
            if field.get("type") in ("array", "object") and "$ref" not in field:
                # Go prints a list or map that is not there as null, which the documents do not tell.
                field["nullable"] = True
    error = {"$ref": "#/components/schemas/StatusOfError"}
    for path, methods in raw_schema["paths"].items():
        for method, operation in methods.items():
            if not isinstance(operation, dict) or "responses" not in operation:
                continue
            responses = operation["responses"]
            if path.startswith(("/.well-known/", "/openid/")):
                # They are JSON, published as text.
                for content in responses["200"]["content"].values():
                    content["schema"] = {}
            codes = ERRORS + ((500, 502, 503, 504) if path.rstrip("}").endswith(CONNECT) or "/proxy/" in path else ())
            for code in codes:
                kinds = ("application/json", "application/yaml", "application/cbor")
                responses[str(code)] = {"description": "an error", "content": {kind: {"schema": error} for kind in kinds}}
            body = operation.get("requestBody", {}).get("content", {})
            if "*/*" in body:
                schema = shallow(body.pop("*/*"), schemas)
                body["application/json"] = schema
                if method != "delete":
                    body["application/yaml"] = schema
            if method == "delete":
                kind_schema = schema_of(methods, raw_schema)
                for code in ("200", "202"):
                    for content in responses.get(code, {}).get("content", {}).values():
                        if kind_schema and content["schema"] != kind_schema:
                            content["schema"] = {"anyOf": [content["schema"], kind_schema]}


def shallow(schema, schemas):
    """A request's schema, references followed so many times; everything in a pod at once is too much to enumerate."""
    if not DEPTH:
        return schema
    return followed(schema, schemas, DEPTH)


def followed(schema, schemas, depth):
    if isinstance(schema, list):
        return [followed(item, schemas, depth) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        if depth == 0:
            return {}
        return followed(schemas[schema["$ref"].rsplit("/", 1)[1]], schemas, depth - 1)
    return {key: followed(value, schemas, depth) for key, value in schema.items() if key != "description"}


def schema_of(methods, raw_schema):
    """The schema of the object that a path is about, from what GET answers."""
    content = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
    return content.get("application/json", {}).get("schema")


def yaml_of(value):
    return value if isinstance(value, bytes) else yaml.safe_dump(value, allow_unicode=True).encode()


@schemathesis.serializer("application/apply-patch+yaml", "application/yaml")
def as_yaml(context, value):
    return yaml_of(value)


@schemathesis.serializer("application/apply-patch+cbor", "application/cbor")
def as_cbor(context, value):
    import cbor2

    return value if isinstance(value, bytes) else cbor2.dumps(value)


@schemathesis.serializer(
    "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"
)
def as_json(context, value):
    return value if isinstance(value, bytes) else json.dumps(value, default=str).encode()


@schemathesis.deserializer("application/cbor")
def of_cbor(context, response):
    import cbor2

    # Without the tag that says that it is CBOR.
    return with_text(cbor2.loads(response.content.removeprefix(b"\xd9\xd9\xf7")))


def with_text(value):
    """Kubernetes has byte strings in CBOR where JSON has strings."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [with_text(item) for item in value]
    if isinstance(value, dict):
        return {with_text(key): with_text(item) for key, item in value.items()}
    return value


def is_watch(case):
    """Any value but these two means yes, as with upstream's conversion of parameters."""
    watch = (case.query or {}).get("watch", "false")
    return case.method == "GET" and (str(watch).lower() not in ("false", "0") or "/watch/" in case.path)


@schemathesis.hook
def before_call(context, case, kwargs):
    """Leads most requests to what exists; the rest go out as they were generated."""
    operation = case.operation.definition.raw
    dice = random.Random(zlib.crc32(repr((case.path, case.method, case.query, case.body)).encode(errors="replace")))
    query = case.query if isinstance(case.query, dict) else {}
    if is_watch(case):
        query["timeoutSeconds"] = 1
    if "follow" in query:
        query.pop("follow")
    case.query = query
    if case.path_parameters and dice.random() < 0.9:
        if "namespace" in case.path_parameters:
            case.path_parameters["namespace"] = "default"
        if "name" in case.path_parameters:
            case.path_parameters["name"] = name_for(operation, dice)
    if case.method == "GET" and dice.random() < 0.6:
        for key in ("fieldSelector", "labelSelector", "continue", "resourceVersion", "resourceVersionMatch"):
            if dice.random() < 0.8:
                query.pop(key, None)
    accept = dice.choices([None, "application/yaml", "application/cbor"], [8, 1, 1])[0]
    if accept in operation["responses"].get("200", {}).get("content", {}) and not is_watch(case):
        case.headers["Accept"] = accept
    group = operation.get("x-kubernetes-group-version-kind", {})
    if case.method == "DELETE" and operation.get("x-kubernetes-action") == "deletecollection":
        if group.get("group", "").startswith(("rbac.", "flowcontrol.", "apiregistration.", "admissionregistration.")):
            query["dryRun"] = "All"
        elif dice.random() < 0.8:
            query["fieldSelector"] = "metadata.name=" + name_for(operation, dice)
    if isinstance(case.body, dict) and case.method in ("POST", "PUT"):
        case.body = led(case.body, case, operation, dice)
    if case.method == "PATCH":
        case.body = patched(case.body, case, operation, dice)
    if case.media_type and case.media_type.endswith("yaml") and not isinstance(case.body, NotSet):
        # As bytes: text is sent in another encoding than its length is counted in.
        case.body = yaml_of(case.body)
    if group.get("kind", "").endswith("WebhookConfiguration") and case.method in ("POST", "PUT", "PATCH"):
        query["dryRun"] = "All"


def name_for(operation, dice):
    kind = operation.get("x-kubernetes-group-version-kind", {}).get("kind")
    name = dice.choice(NAMES)
    number = name[2:]
    if kind == "CustomResourceDefinition":
        return f"things{number}.schemathesis.example"
    if kind == "APIService":
        return f"v1.g{number}.schemathesis.example"
    if kind == "IPAddress":
        return f"10.43.200.{number}"
    return name


def led(body, case, operation, dice):
    of = operation.get("x-kubernetes-group-version-kind", {})
    version = f"{of['group']}/{of['version']}" if of.get("group") else of.get("version")
    sample = SAMPLES.get((version, of.get("kind")))
    way = dice.random()
    if sample is None or way < 0.15:
        return body
    named = copy.deepcopy(sample)
    name = case.path_parameters.get("name") or name_for(operation, dice)
    named.setdefault("metadata", {})["name"] = name
    if named["kind"] == "CustomResourceDefinition":
        number = name.split(".")[0].removeprefix("things")
        named["spec"]["names"] = {"plural": f"things{number}", "kind": f"Thing{number}"}
    if named["kind"] == "APIService":
        named["spec"]["group"] = name.removeprefix("v1.")
    if way < 0.3:
        return {**body, "apiVersion": named["apiVersion"], "kind": named["kind"], "metadata": named["metadata"]}
    if way < 0.5:
        return named
    # The sample with one or two parts of what was generated.
    for _ in range(dice.randint(1, 2)):
        graft(named, body, dice, 0)
    named["apiVersion"], named["kind"] = sample["apiVersion"], sample["kind"]
    return named


def graft(target, source, dice, depth):
    keys = [key for key in source if depth or key not in ("apiVersion", "kind")]
    if not keys:
        return
    key = dice.choice(keys)
    inner = source[key]
    if isinstance(inner, dict) and inner and isinstance(target.get(key), dict) and dice.random() < 0.9:
        graft(target[key], inner, dice, depth + 1)
    elif key != "name" or depth != 1:
        target[key] = inner


def patched(body, case, operation, dice):
    if case.media_type == "application/json-patch+json":
        if dice.random() < 0.2:
            return body
        values = [body, "x", 1, None, [], {"a": body}]
        return [
            {
                "op": dice.choice(["add", "replace", "remove", "test", "copy", "move", "nonsense"]),
                "path": dice.choice(POINTERS),
                "from": dice.choice(POINTERS),
                "value": dice.choice(values),
            }
            for _ in range(dice.randint(0, 3))
        ]
    if case.media_type and case.media_type.startswith("application/apply-patch"):
        case.query.setdefault("fieldManager", "schemathesis")
        if dice.random() < 0.5:
            case.query["force"] = "true"
    if isinstance(body, dict):
        return led(body, case, operation, dice)
    return body


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """A watch is held to `watch_is_a_stream_of_events` instead of the schema of a list.

    What upstream answers so, too: an apply of a field that its schema does not have is an error 500 without a reason.
    """
    if response.status_code == 500 and b"failed to create typed patch object" in response.content:
        return False
    if is_watch(case) and response.status_code == 200:
        return type(failure).__name__ in ("ServerError", "CustomFailure", "AssertionError")
    return True


@schemathesis.hook
def after_network_error(context, case, request):
    print("No answer:", case.method, request.url[:300], dict(request.headers), (request.body or b"")[:300], flush=True)


@schemathesis.check
def watch_is_a_stream_of_events(context, response, case):
    if not is_watch(case) or response.status_code != 200:
        return
    kind = response.headers.get("content-type", [""])[0]
    assert kind.startswith("application/json"), f"a watch of type {kind}"
    for line in response.content.splitlines():
        event = json.loads(line)
        assert set(event) == {"type", "object"}, f"fields of an event: {sorted(event)}"
        assert event["type"] in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"), event["type"]
        assert isinstance(event["object"].get("metadata"), dict), "an event without metadata"


@schemathesis.check
def error_says_its_code(context, response, case):
    if response.status_code < 400 or response.status_code == 401:
        return
    kind = response.headers.get("content-type", [""])[0]
    if not kind.startswith("application/json"):
        return
    status = json.loads(response.content)
    assert status.get("code") == response.status_code, f"{response.status_code} says {status.get('code')}"
    assert status.get("reason") or response.status_code in (405, 500), f"no reason: {status}"
