"""Checks every object of a manifest against the schemas of Kubernetes; prints the run in its first one.

usage: kubernetes_objects.py MANIFEST, with kubernetes-validate of PyPI in the path. Exits with 77 if it
is not there.
"""
import sys

try:
    import kubernetes_validate
    import yaml
except ImportError as error:
    print(f"{error}; deploy/install --tests brings kubernetes-validate")
    sys.exit(77)

with open(sys.argv[1], encoding="utf-8") as file:
    objects = list(yaml.safe_load_all(file))
for one in objects:
    for version in ("1.28", "1.36"):
        kubernetes_validate.validate(one, version, strict=True)
print(objects[0]["data"]["run.textproto"])
