#!/usr/bin/env python3
"""Holds the Rego export against rego-cpp (regopy of PyPI): reads what the example rego_cases prints.

It and regorus were written apart, so what both evaluate as the engine does leans on no corner of the language."""
import collections
import json
import sys

import regopy

interpreter, rego, seen = None, "", collections.Counter()
for line in sys.stdin:
    case = json.loads(line)
    if "rego" in case:
        rego, interpreter = case["rego"], regopy.Interpreter()
        interpreter.add_module("policy", rego)
        continue
    interpreter.set_input(case["input"])
    # A query for `allow` alone would be undefined where it is false.
    output = str(interpreter.query("data.casemate"))
    found = json.loads(output)["expressions"][0]["allow"]
    if found is not case["allow"]:
        sys.exit(f"engine: allow is {case['allow']}, rego-cpp: {output}\n{line}\n{rego}")
    seen[case["point"], found] += 1
points = sorted({point for point, _ in seen})
for point in points:
    allowed, denied = seen[point, True], seen[point, False]
    print(f"{point}: {allowed} allowed, {denied} denied")
    if allowed * 20 < denied or denied * 20 < allowed:
        sys.exit(f"{point}: both verdicts have to be well covered")
if len(points) != 11:
    sys.exit(f"{len(points)} points of 11")
print(f"{sum(seen.values())} cases agree with rego-cpp")
