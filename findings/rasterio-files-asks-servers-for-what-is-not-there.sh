#!/usr/bin/env bash
# rasterio 1.4.4 (GDAL 3.10.3, wheel of PyPI): `dataset.files`, a property, of an open GeoTIFF on a server asks it for 28
# files that are not there, such as metadata of satellites' vendors (a_MTL.txt, a_RPC.TXT, a.IMD), one after another. At
# 50 ms an answer that is a second for each file of a list, though every pixel and every tag is known already.
#
# Seen, of a.tif, which has everything within it, with GDAL_DISABLE_READDIR_ON_OPEN=TRUE, as for stores that list
# millions: opening it asks for 7 names beside it, `files` for 28 more, 35 in all. With CPL_VSIL_CURL_ALLOWED_EXTENSIONS
# set to ".tif,.msk,.aux.xml,.ovr" it is 5, and `files` says the same. With EMPTY_DIR it is none, but then a mask beside
# the file is not found either.
#
# Exits 0 as long as there are more than 25 names without that option, fewer than 8 with it, and none with EMPTY_DIR.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "rasterio==1.4.4" "numpy>=2"
cd "$folder"
cat > serve.py <<'PYTHON'
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    """Serves a.tif by ranges, and notes every name that it is asked for."""

    def do_HEAD(self):
        with open("asked", "a") as file:
            file.write(self.path[1:] + "\n")
        body = Path("a.tif").read_bytes() if self.path == "/a.tif" else b""
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if body else None
        self.send_response(206 if part else 200 if body else 404)
        self.send_header("Accept-Ranges", "bytes")
        if part:
            first, last = int(part[1]), min(int(part[2]), len(body) - 1)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
            body = body[first : last + 1]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_GET = do_HEAD

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
Path("port").write_text(str(server.server_port))
server.serve_forever()
PYTHON
venv/bin/python - <<'PYTHON'
import numpy
import rasterio

place = rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)
with rasterio.open(
    "a.tif", "w", driver="GTiff", width=512, height=512, count=1, dtype="uint8", crs="EPSG:32632", transform=place
) as file:
    file.write(numpy.ones((1, 512, 512), numpy.uint8))
PYTHON
venv/bin/python serve.py &
server=$!
until [ -s port ]; do sleep 0.1; done
names() { # how many names beside a.tif are asked for, with options of GDAL
  : > asked
  env "$@" venv/bin/python -c "
import rasterio
with rasterio.open('http://127.0.0.1:$(cat port)/a.tif') as file:
    assert [name.rpartition('/')[2] for name in file.files] == ['a.tif'], file.files
"
  sort -u asked | grep -cvx "a.tif" || true
}
whole=$(names GDAL_DISABLE_READDIR_ON_OPEN=TRUE)
few=$(names GDAL_DISABLE_READDIR_ON_OPEN=TRUE CPL_VSIL_CURL_ALLOWED_EXTENSIONS=.tif,.msk,.aux.xml,.ovr)
none=$(names GDAL_DISABLE_READDIR_ON_OPEN=EMPTY_DIR)
echo "names asked for beside a.tif: $whole, with allowed extensions $few, with EMPTY_DIR $none"
[ "$whole" -gt 25 ] && [ "$few" -lt 8 ] && [ "$none" -eq 0 ]
