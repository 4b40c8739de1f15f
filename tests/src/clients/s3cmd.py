import json, sys, time

sys.path.append("/usr/lib/python3/dist-packages")
from S3.Config import Config
from S3.PkgInfo import version

start = time.perf_counter()
config = Config()
try:
    config.role_config()
except IOError as error:
    print(error, file=sys.stderr)
if not config.access_key:
    print("null")
else:
    print(json.dumps({
        "version": version,
        "access_key_id": config.access_key,
        "secret_access_key": config.secret_key,
        "token": config.access_token,
        "took_ms": round((time.perf_counter() - start) * 1000),
    }))
