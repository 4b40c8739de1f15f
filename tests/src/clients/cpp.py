import http.server, json, re, threading, time

# PyArrow carries the AWS SDK for C++, which shows what it signs with to the S3 that it asks.
seen = []


class S3(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        seen.append((time.perf_counter(), self.headers))
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), S3)
threading.Thread(target=server.serve_forever, daemon=True).start()

import pyarrow.fs

start = time.perf_counter()
s3 = pyarrow.fs.S3FileSystem(
    endpoint_override=f"127.0.0.1:{server.server_port}", scheme="http", region="us-west-2"
)
s3.get_file_info("bucket/key")
asked, headers = seen[0]
key = re.search(r"Credential=([^/]+)/", headers.get("Authorization", ""))
if key is None:
    print("null")
else:
    print(json.dumps({
        "version": re.search(r"aws-sdk-cpp/([0-9.]+)", headers["User-Agent"]).group(1),
        "access_key_id": key.group(1),
        "token": headers["x-amz-security-token"],
        "took_ms": round((asked - start) * 1000),
    }))
