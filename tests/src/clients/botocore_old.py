import collections, collections.abc, json, time

# Names that Python had where these versions of botocore look for them, until 3.10.
for name in ("Callable", "Iterable", "Mapping", "MutableMapping", "Sequence"):
    setattr(collections, name, getattr(collections.abc, name))

import botocore
import botocore.session

start = time.perf_counter()
found = botocore.session.Session().get_credentials()
if found is None:
    print("null")
else:
    frozen = found.get_frozen_credentials()
    print(json.dumps({
        "version": botocore.__version__,
        "access_key_id": frozen.access_key,
        "secret_access_key": frozen.secret_key,
        "token": frozen.token,
        "expiration": found._expiry_time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "took_ms": round((time.perf_counter() - start) * 1000),
    }))
