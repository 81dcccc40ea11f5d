"""What the QGIS plugin Deepness finds with a model; run by QGIS' own Python, without a window.

``python3 tests/in_deepness.py SCENE MODEL LABELS``: the plugin's own sources, onnxruntime and OpenCV are on
``PYTHONPATH``. ``LABELS`` (.npy) takes the plugin's map: uint8, shape (y, x), 1 for the model's first class. The
plugin's median filter is left out: a filter of one pixel changes nothing.
"""

from __future__ import annotations

import sys
from unittest.mock import MagicMock

import numpy as np
from deepness.common.channels_mapping import ChannelsMapping, ImageChannelStandaloneBand
from deepness.common.processing_overlap import ProcessingOverlap, ProcessingOverlapOptions
from deepness.common.processing_parameters.map_processing_parameters import ProcessedAreaType
from deepness.common.processing_parameters.segmentation_parameters import SegmentationParameters
from deepness.processing.map_processor.map_processor_segmentation import MapProcessorSegmentation
from deepness.processing.models.segmentor import Segmentor
from qgis.core import QgsApplication, QgsProject, QgsRasterLayer

scene, path, labels = sys.argv[1:]
application = QgsApplication([], False)
application.initQgis()
layer = QgsRasterLayer(scene, "scene")
QgsProject.instance().addMapLayer(layer)

model = Segmentor(path)
mapping = ChannelsMapping()
mapping.set_image_channels([ImageChannelStandaloneBand(number, f"band {number}") for number in (1, 2, 3)])
mapping.set_number_of_model_inputs_same_as_image_channels()
parameters = SegmentationParameters(
    resolution_cm_per_px=model.get_metadata_resolution(),
    processed_area_type=ProcessedAreaType.ENTIRE_LAYER,
    tile_size_px=model.get_input_size_in_pixels()[0],
    batch_size=1,
    local_cache=False,
    input_layer_id=layer.id(),
    mask_layer_id=None,
    processing_overlap=ProcessingOverlap(
        ProcessingOverlapOptions.OVERLAP_IN_PERCENT, percentage=model.get_metadata_tiles_overlap()
    ),
    input_channels_mapping=mapping,
    postprocessing_dilate_erode_size=0,
    model=model,
    pixel_classification__probability_threshold=model.get_metadata_segmentation_threshold(),
)
processor = MapProcessorSegmentation(rlayer=layer, vlayer_mask=None, map_canvas=MagicMock(), params=parameters)
processor.run()
np.save(labels, processor.get_result_img()[0])
