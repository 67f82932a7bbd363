"""Checks manifests of Kubernetes against the schemas of its API: manifests.py SCHEMAS.json MANIFESTS.yaml

Prints one line for each object; exit code 1 with what is wrong.
"""

import json
import sys

import jsonschema
import yaml


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schemas = json.load(file)
    with open(sys.argv[2], encoding="utf-8") as file:
        objects = list(yaml.safe_load_all(file))
    problems = []
    for thing in objects:
        kind, name = thing["kind"], thing["metadata"]["name"]
        schema = {"$ref": "#/definitions/" + schemas["kinds"][kind], "definitions": schemas["definitions"]}
        for error in jsonschema.Draft7Validator(schema).iter_errors(thing):
            problems.append(f"{kind} {name}: {'/'.join(map(str, error.path))}: {error.message[:200]}")
        print(kind, name)
    if problems:
        sys.exit("\n".join(problems))


main()
