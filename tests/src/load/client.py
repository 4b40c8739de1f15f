# Looks for credentials as every AWS SDK for Python does, again and again, until standard input closes. A line
# for each try: when it began, by the clock that never jumps, and the session token or "-".
import fcntl
import sys
import threading
import time

from botocore.utils import InstanceMetadataFetcher

gate = open(sys.argv[1])
between = float(sys.argv[2])
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
fetcher = InstanceMetadataFetcher(timeout=1, num_attempts=1)
while not over.is_set():
    # The test closes the gate for what no request may see the middle of.
    fcntl.flock(gate, fcntl.LOCK_SH)
    began = time.monotonic()
    found = fetcher.retrieve_iam_role_credentials()
    fcntl.flock(gate, fcntl.LOCK_UN)
    print(began, found["token"] if found else "-", flush=True)
    over.wait(between)
