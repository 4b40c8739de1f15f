"""Values of CEL expressions, by CEL's own implementation, with the functions on strings that Kubernetes
adds."""

import json
import sys

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings


def environment(names):
    variables = {name: cel.Type.DYN for name in names}
    return cel.NewEnv(variables=variables, extensions=[ext_strings.ExtStrings()])


def value(expression, given):
    return environment(given).compile(expression).eval(data=given).plain_value()


def evaluation(asked):
    given = dict(asked["given"])
    try:
        # Variables are evaluated where they are used; what is not used may fail.
        variables = {}
        for name, expression in asked["variables"]:
            try:
                variables[name] = value(expression, {**given, "variables": dict(variables)})
            except Exception as error:
                if f"variables.{name}" in asked["expression"]:
                    raise
        return value(asked["expression"], {**given, "variables": variables})
    except Exception as error:
        return f"error: {error}"


print(json.dumps([evaluation(asked) for asked in json.load(sys.stdin)]))
