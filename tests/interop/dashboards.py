"""Checks dashboards against the types of Grafana: dashboards.py SCHEMAS.json DASHBOARD.json...

A dashboard as a whole, and of each panel the panel, its options and its field options by the kind of panel it is. Prints one line
for each dashboard; exit code 1 with what is wrong.
"""

import json
import sys

import jsonschema


def problems(schemas, board):
    """What does not fit, each with its place."""
    things = [("", "dashboard", board)]
    for panel in board["panels"]:
        if panel["type"] == "row":
            continue
        place = f"{panel['title']}: "
        things.append((place, "panel", panel))
        things.append((place + "options: ", panel["type"], panel["options"]))
        fields = panel["fieldConfig"]["defaults"].get("custom", {})
        if fields:
            things.append((place + "custom: ", panel["type"] + " field", fields))
    for place, kind, thing in things:
        for error in jsonschema.Draft7Validator(schemas[kind]).iter_errors(thing):
            yield f"{place}{'/'.join(map(str, error.path))}: {error.message[:200]}"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schemas = json.load(file)["schemas"]
    wrong = []
    for name in sys.argv[2:]:
        with open(name, encoding="utf-8") as file:
            board = json.load(file)
        wrong += [f"{board['title']}: {problem}" for problem in problems(schemas, board)]
        print(f"{board['title']}: {len(board['panels'])} panels")
    if wrong:
        sys.exit("\n".join(wrong))


main()
