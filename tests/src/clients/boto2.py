import json, sys, time
import boto.provider

start = time.perf_counter()
try:
    found = boto.provider.Provider("aws")
except Exception as error:
    print(error, file=sys.stderr)
    found = None
if found is None or found.access_key is None:
    print("null")
else:
    print(json.dumps({
        "access_key_id": found.access_key,
        "secret_access_key": found.secret_key,
        "token": found.security_token,
        "expiration": found._credential_expiry_time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "took_ms": round((time.perf_counter() - start) * 1000),
    }))
