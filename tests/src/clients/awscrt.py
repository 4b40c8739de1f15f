import json, sys, time
import awscrt
from awscrt.auth import AwsCredentialsProvider

start = time.perf_counter()
try:
    found = AwsCredentialsProvider.new_default_chain().get_credentials().result(timeout=30)
except Exception as error:
    print(error, file=sys.stderr)
    print("null")
else:
    print(json.dumps({
        "version": awscrt.__version__,
        "access_key_id": found.access_key_id,
        "secret_access_key": found.secret_access_key,
        "token": found.session_token,
        "expiration": found.expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "took_ms": round((time.perf_counter() - start) * 1000),
    }))
