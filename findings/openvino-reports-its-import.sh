#!/usr/bin/env bash
# openvino 2026.4.1: importing the package reports that to its makers. Its wheel requires openvino-telemetry, and
# `import openvino` sends an event to www.google-analytics.com from a thread, without asking, and leaves an id of the user
# in ~/intel/openvino_ga_cid. A CI variable, or the command opt_in_out, turns it off; nothing that a library can call does,
# but the package may be missing: then nothing is sent. geoseg imports openvino so (geoseg/models/openvino.py).
#
# Seen: a proxy of ours is asked for www.google-analytics.com:443 by a program of one line, and by none where
# sys.modules["openvino_telemetry"] is None before.
#
# Exits 0 as long as the import asks for a server of Google, and is silent without the package.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "openvino==2026.4.1" "openvino-telemetry==2025.2.0"
cd "$folder"
venv/bin/python - <<'PYTHON'
import http.server
import os
import subprocess
import sys
import tempfile
import threading
import time

SEEN = []


class Proxy(http.server.BaseHTTPRequestHandler):
    def do_CONNECT(self):
        SEEN.append(self.path)
        self.send_error(502)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"


def import_in(program):
    """Who is asked for while a program of a new user runs, and what it leaves in the home folder."""
    SEEN.clear()
    with tempfile.TemporaryDirectory() as home:
        environment = {"HOME": home, "PATH": os.environ["PATH"], "https_proxy": address, "http_proxy": address}
        subprocess.run([sys.executable, "-c", program], env=environment, check=True, stdin=subprocess.DEVNULL)
        time.sleep(3)
        left = sorted(os.path.join(folder, name)[len(home) :] for folder, _, names in os.walk(home) for name in names)
    return sorted(set(SEEN)), left


plain = import_in("import openvino, time; time.sleep(5)")
without = import_in("import sys; sys.modules['openvino_telemetry'] = None; import openvino, time; time.sleep(5)")
print("import openvino:", *plain)
print("without openvino_telemetry:", *without)
sys.exit(not (any("google" in name for name in plain[0]) and without == ([], [])))
PYTHON
