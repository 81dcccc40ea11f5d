#!/usr/bin/env bash
# pystac 1.15.2: reading an item of an older MLM extension with migrate=True replaces the address of the extension's
# schema by the newest one and leaves the fields as they were, so the item claims a version whose fields it does not have.
# A reader that goes by the version finds no scaling (value_scaling, since MLM 1.3) and feeds raw pixels to the network.
#
# Seen: an item of MLM v1.0.0 with norm_type, norm_by_channel and statistics says v1.4.0 afterwards, with the same fields.
#
# Exits 0 as long as the version changes and the fields of the input do not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "pystac==1.15.2" "pystac-core==1.15.2"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import copy
import sys

import pystac

OLD = "https://stac-extensions.github.io/mlm/v1.0.0/schema.json"
pixels = {"shape": [-1, 1, 64, 64], "dim_order": ["batch", "channel", "height", "width"], "data_type": "float32"}
entry = {
    "name": "pixels", "bands": ["B02"], "input": pixels,
    "norm_type": "z-score", "norm_by_channel": True, "statistics": [{"mean": 1500, "stddev": 700}],
}
document = {
    "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [OLD], "id": "model", "geometry": None, "links": [],
    "properties": {
        "datetime": "2024-01-01T00:00:00Z", "mlm:name": "model", "mlm:architecture": "U-Net",
        "mlm:tasks": ["semantic-segmentation"], "mlm:input": [entry], "mlm:output": [],
    },
    "assets": {"model": {"href": "./weights.pt", "mlm:artifact_type": "torch.save", "roles": ["mlm:model"]}},
}
item = pystac.Item.from_dict(copy.deepcopy(document), migrate=True)
fields = item.properties["mlm:input"][0]
print("pystac", pystac.__version__, item.stac_extensions, sorted(fields))
sys.exit(not (item.stac_extensions != [OLD] and fields == entry))
PYTHON
