#!/usr/bin/env bash
# rasterio 1.4.4 (GDAL 3.10.3, wheels of PyPI): an answer of a server that breaks off in the middle is no error of
# /vsicurl/, and what came of it is remembered for the life of the process. So a GeoTIFF that could not be read once,
# because a connection broke once, cannot be read any more in that process, although the server is well: opening it
# again asks for nothing. CPL_VSIL_CURL_NON_CACHED while it is opened and closed makes GDAL forget.
#
# Seen: the server breaks off one answer, its first for pixels. Read fails; read of the file opened anew fails, and the
# server has answered nothing more; read after the file was opened and closed with the option succeeds.
#
# Exits 0 as long as the second read fails and the third one succeeds.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "rasterio==1.4.4" "numpy==2.4.6"
cd "$folder"
cat > server.py <<'PYTHON'
import re
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

content = open("a.tif", "rb").read()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    left = 1

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if self.path != "/a.tif":
            self.send_response(404)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        asked = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, stop = (int(asked[1]), min(int(asked[2]) + 1, len(content))) if asked else (0, len(content))
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(stop - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            is_broken, Handler.left = start > 0 and Handler.left > 0, Handler.left - (start > 0)
            self.wfile.write(content[start : (start + stop) // 2 if is_broken else stop])
            if is_broken:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
PYTHON
venv/bin/python -W ignore - <<'PYTHON'
import subprocess
import sys

import numpy as np
import rasterio

pixels = np.random.default_rng(0).integers(1, 60000, (1, 1024, 1024), dtype=np.uint16)
profile = {"driver": "GTiff", "width": 1024, "height": 1024, "count": 1, "dtype": "uint16"}
with rasterio.open("a.tif", "w", tiled=True, blockxsize=128, blockysize=128, **profile) as raster:
    raster.write(pixels)
server = subprocess.Popen([sys.executable, "server.py"], stdout=subprocess.PIPE, text=True)
address = f"/vsicurl/http://127.0.0.1:{int(server.stdout.readline())}/a.tif"


def is_read():
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(address) as raster:
        try:
            return bool((raster.read() == pixels).all())
        except rasterio.errors.RasterioError:
            return False


try:
    first, second = is_read(), is_read()
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", CPL_VSIL_CURL_NON_CACHED="/vsicurl/"):
        rasterio.open(address).close()
    third = is_read()
finally:
    server.kill()
print("rasterio", rasterio.__version__, "GDAL", rasterio.__gdal_version__, "read:", first, second, third)
sys.exit((first, second, third) != (False, False, True))
PYTHON
