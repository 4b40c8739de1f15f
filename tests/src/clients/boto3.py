import json, time
import boto3

start = time.perf_counter()
found = boto3.session.Session().get_credentials()
if found is None:
    print("null")
else:
    frozen = found.get_frozen_credentials()
    print(json.dumps({
        "access_key_id": frozen.access_key,
        "secret_access_key": frozen.secret_key,
        "token": frozen.token,
        "expiration": found._expiry_time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "took_ms": round((time.perf_counter() - start) * 1000),
    }))
