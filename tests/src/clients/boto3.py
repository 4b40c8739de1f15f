import json, os, time
import boto3
import botocore.utils

start = time.perf_counter()
session = boto3.session.Session()
found = session.get_credentials()
if found is None:
    print("null")
else:
    frozen = found.get_frozen_credentials()
    took = time.perf_counter() - start
    region = None
    if "ASK_REGION" in os.environ:
        # What `defaults_mode=auto` asks.
        region = botocore.utils.IMDSRegionProvider(session._session).provide()
    print(json.dumps({
        "version": boto3.__version__,
        "access_key_id": frozen.access_key,
        "secret_access_key": frozen.secret_key,
        "token": frozen.token,
        "expiration": found._expiry_time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": region,
        "took_ms": round(took * 1000),
    }))
