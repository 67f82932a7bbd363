"""Checks a compose file: compose.py SCHEMA.json COMPOSE.yaml

By the schema of Compose, and by what Compose and the engine refuse besides or only warn of. Prints one line for each service;
exit code 1 with what is wrong.
"""

import json
import os
import re
import sys

import jsonschema
import yaml


def by_schema(schemas, compose):
    """What the schema says."""
    for error in jsonschema.Draft7Validator(schemas["schema"]).iter_errors(compose):
        yield f"{'/'.join(map(str, error.path))}: {error.message[:200]}"


def of_a_fresh_checkout(text, folder, compose):
    """`up` asks for nothing that a fresh checkout lacks: variables, files of secrets, what is mounted."""
    for variable in re.findall(r"(?<!\$)\$(\w+|\{[^}]*\})", re.sub(r"#.*", "", text)):
        if not re.fullmatch(r"\{\w+:-.*\}", variable):
            yield f"the variable {variable} has no default"
    for kind in ("secrets", "configs"):
        for name, thing in compose.get(kind, {}).items():
            if "file" not in thing:
                yield f"{kind}/{name} is not in the checkout"
            elif not os.path.exists(os.path.join(folder, thing["file"])):
                yield f"{kind}/{name}: {thing['file']} is not there"
    for name, service in compose["services"].items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("."):
                if not os.path.exists(os.path.join(folder, source)):
                    yield f"{name}: {source} is not there"
            elif source not in compose["volumes"]:
                yield f"{name}: the volume {source} is not declared"


def of_a_read_only_root(compose):
    """Compose copies what is no file into the root of a container, which fails where that is read-only (docker/compose#12531)."""
    for name, service in compose["services"].items():
        for kind in ("secrets", "configs"):
            for used in service.get(kind, []):
                used = used if isinstance(used, str) else used["source"]
                if service.get("read_only") and "file" not in compose[kind][used]:
                    yield f"{name}: {kind}/{used} is no file, and its root is read-only"


def of_profiles(compose):
    """A service is not waited for unless it is there whenever the other is."""
    for name, service in compose["services"].items():
        for needed in service.get("depends_on", {}):
            profiles = compose["services"][needed].get("profiles")
            if profiles and not set(service.get("profiles", [None])) <= set(profiles):
                yield f"{name} waits for {needed}, which its profiles do not start"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schemas = json.load(file)
    with open(sys.argv[2], encoding="utf-8") as file:
        text = file.read()
    compose, folder = yaml.safe_load(text), os.path.dirname(os.path.abspath(sys.argv[2]))
    problems = [*by_schema(schemas, compose)]
    problems += [*of_a_fresh_checkout(text, folder, compose), *of_a_read_only_root(compose), *of_profiles(compose)]
    for name in compose["services"]:
        print(name)
    if problems:
        sys.exit("\n".join(problems))


main()
