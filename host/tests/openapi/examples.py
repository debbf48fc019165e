"""Checks that each example of an OpenAPI document fits its schema, and prints how many there are."""

import json
import sys

from jsonschema import Draft202012Validator

with open(sys.argv[1], encoding="utf-8") as file:
    document = json.load(file)


def check(place, schema, value):
    # References lead to the components of the document.
    whole = {**schema, "components": document["components"]}
    faults = [fault.message for fault in Draft202012Validator(whole).iter_errors(value)]
    if faults:
        sys.exit(f"{place}: {faults}: {json.dumps(value)}")


count = 0
for path, operations in document["paths"].items():
    for method, operation in operations.items():
        place = f"{method} {path}"
        for parameter in operation.get("parameters", []):
            if "example" in parameter:
                check(f"{place} {parameter['name']}", parameter["schema"], parameter["example"])
                count += 1
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for media in (media for body in bodies for media in body.get("content", {}).values()):
            for name, example in media.get("examples", {}).items():
                check(f"{place} {name}", media.get("schema", {}), example["value"])
                count += 1
print(count)
