# Judges objects as an API server does: by the schema of their definition, and by its rules in CEL.
# Standard input: {"schema": ..., "objects": [...]}. Standard output: of each object, what is wrong.
import json
import sys

import jsonschema
from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

TYPES = {"string": cel.Type.STRING, "integer": cel.Type.INT, "boolean": cel.Type.BOOL}


def holds(rule, type_name, value):
    variables = {"self": TYPES.get(type_name, cel.Type.DYN)}
    env = cel.NewEnv(variables=variables, extensions=[ext_strings.ExtStrings()])
    result = env.compile(rule).eval(data={"self": value})
    # A rule that fails to evaluate refuses, and so does one that says anything but true.
    return result.value() is True


def refusals(schema, value):
    for rule in schema.get("x-kubernetes-validations", []):
        if not holds(rule["rule"], schema.get("type"), value):
            yield rule["message"]
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield from refusals(inner, value[name])
    if isinstance(value, list):
        for inner in value:
            yield from refusals(schema["items"], inner)


def judge(schema, value):
    wrong = [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(value)]
    # Rules are asked of what has the right shape.
    return wrong or list(refusals(schema, value))


asked = json.load(sys.stdin)
json.dump([judge(asked["schema"], value) for value in asked["objects"]], sys.stdout)
