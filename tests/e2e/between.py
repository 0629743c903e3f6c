"""A store as a client sees it through something that stands between the two, and answers some requests by itself."""

import http.client
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Between:
    """An endpoint that hands every request on, but for those of a key and version that `meddling` knows.

    `meddling` has, for (key, version) with `None` for no version, what is called when that is read: what it returns is
    the status and code of an answer, or nothing where the request is handed on after all.
    """

    def __init__(self, endpoint, bucket):
        self.meddling = {}
        self.read = []
        upstream, between = urllib.parse.urlsplit(endpoint).netloc, self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def serve(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                refusal = between.refusal(self.command, bucket, self.path)
                status, headers, answer = refusal or self.handed_on(body)
                self.send_response_only(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = serve

            def handed_on(self, body):
                connection = http.client.HTTPConnection(upstream, timeout=60)
                # The host is signed, as everything else.
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    connection.putheader(name, value)
                connection.endheaders(body)
                answer = connection.getresponse()
                content = answer.read()
                dropped = ("connection", "transfer-encoding", "content-length")
                headers = [header for header in answer.getheaders() if header[0].lower() not in dropped]
                length = answer.getheader("content-length") if self.command == "HEAD" else len(content)
                connection.close()
                return answer.status, [*headers, ("content-length", length or 0)], content

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def refusal(self, method, bucket, path):
        path, _, query = path.partition("?")
        query = urllib.parse.parse_qs(query, keep_blank_values=True)
        key = urllib.parse.unquote(path).removeprefix(f"/{bucket}/")
        asked = (key, query.get("versionId", [None])[0])
        if method not in ("GET", "HEAD") or "tagging" in query:
            return None
        self.read.append((method, *asked))
        refused = self.meddling[asked]() if asked in self.meddling else None
        if refused is None:
            return None
        status, code = refused
        body = f"<Error><Code>{code}</Code><Message>as it was told to</Message></Error>".encode()
        return status, [("content-type", "application/xml"), ("content-length", len(body))], body
