"""Pack the plugin for QGIS' plugin manager ("Install from ZIP"): ``python3 qgis/package.py [ZIP]``."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

PLUGIN = Path(__file__).parent / "geoseg_processing"


def pack(path: Path) -> Path:
    """Write the plugin with the licence of the project; the same files give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = {f"{PLUGIN.name}/{file.name}": file for file in PLUGIN.iterdir() if file.is_file()}
    files[f"{PLUGIN.name}/LICENSE"] = PLUGIN.parents[1] / "LICENSE"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name), file.read_bytes(), zipfile.ZIP_DEFLATED)
    return path


if __name__ == "__main__":
    packed = pack(Path(sys.argv[1] if len(sys.argv) > 1 else "out/geoseg_processing.zip"))
    sys.stdout.write(f"{packed}\n")
