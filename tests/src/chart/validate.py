"""What Kubernetes' schemas have against objects."""

import json
import sys

import kubernetes_validate

asked = json.load(sys.stdin)
found = []
for version in asked["versions"]:
    for item in asked["objects"]:
        name = f"{item['kind']} {item['metadata']['name']} in {version}"
        try:
            kubernetes_validate.validate(item, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{name}: {'.'.join(map(str, error.path))}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError:
            if item["apiVersion"].split("/")[0].endswith("k8s.io") or "." not in item["apiVersion"]:
                found.append(f"{name}: no such kind")
print(json.dumps(found))
