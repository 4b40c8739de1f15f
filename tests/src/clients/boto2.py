import json, os, sys, time
import boto
import boto.provider
import boto.utils

start = time.perf_counter()
try:
    found = boto.provider.Provider("aws")
except Exception as error:
    print(error, file=sys.stderr)
    found = None
if found is None or found.access_key is None:
    print("null")
else:
    took = time.perf_counter() - start
    identity = boto.utils.get_instance_identity() if "ASK_REGION" in os.environ else {}
    print(json.dumps({
        "version": boto.__version__,
        "access_key_id": found.access_key,
        "secret_access_key": found.secret_key,
        "token": found.security_token,
        "expiration": found._credential_expiry_time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": identity.get("document", {}).get("region"),
        "took_ms": round(took * 1000),
    }))
