"""A web server of a domain: the files of a folder, over HTTPS at port 443, for `tests.adhoc`.

python tests/https.py FOLDER
"""

import functools
import http.server
import ssl
import sys
from pathlib import Path

PORT = 443


def main(folder: Path) -> None:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("0.0.0.0", PORT), handler)  # noqa: S104 - in a namespace
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "certificate", folder / "key")
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
