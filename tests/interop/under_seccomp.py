"""Runs a command under the system calls that a container's profile or a unit of systemd allows.

under_seccomp.py PROFILE.json|UNIT.service [--without PREFIX] -- COMMAND...

--without refuses the calls of that prefix besides, as the default profiles refuse io_uring_*. Refused calls fail with EPERM.
"""

import errno
import json
import os
import subprocess
import sys

import seccomp


def of_profile(text):
    """The names that a profile in Docker's format allows."""
    profile = json.loads(text)
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO", profile["defaultAction"]
    rules = [rule for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW"]
    return {name for rule in rules for name in rule["names"]}


def of_unit(text):
    """The names that the SystemCallFilter lines of a unit allow, one line after the other."""
    allowed = set()
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "SystemCallFilter":
            names = {call for name in value.lstrip("~").split() for call in expanded(name)}
            allowed = allowed - names if value.startswith("~") else allowed | names
    return allowed | expanded("@default")


def expanded(name):
    """The calls of a group, its groups included."""
    if not name.startswith("@"):
        return {name}
    said = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True).stdout
    members = [line.strip() for line in said.splitlines()[1:]]
    return {call for member in members if member and not member.startswith("#") for call in expanded(member)}


def refuse_all_but(allowed):
    """Takes every other call from this process and its children."""
    rules = seccomp.SyscallFilter(defaction=seccomp.ERRNO(errno.EPERM))
    for name in allowed:
        try:
            rules.add_rule(seccomp.ALLOW, name)
        except (RuntimeError, ValueError, OSError):
            continue  # Another architecture's, or newer than this library.
    rules.load()


def main():
    end = sys.argv.index("--")
    path, *options = sys.argv[1:end]
    with open(path, encoding="utf-8") as file:
        text = file.read()
    allowed = of_unit(text) if path.endswith(".service") else of_profile(text)
    if options[:1] == ["--without"]:
        allowed = {name for name in allowed if not name.startswith(options[1])}
    command = sys.argv[end + 1 :]
    refuse_all_but(allowed)
    os.execv(command[0], command)


main()
