"""Tile services in: the same map as of the same imagery in a file, polite to the server, and never silently wrong."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from PIL import Image
from shapely.geometry import box

from geoseg.cli import main
from geoseg.errors import CatalogError, GeosegError, RasterReadError, RegionError, WorkflowError
from geoseg.grid import Window
from geoseg.imagery import open_imagery
from geoseg.imagery.tile_services import DEEPEST, TileRequest, _of_wmts, of_template, of_tilejson
from geoseg.raster import Raster, tile_cache
from geoseg.report.naming import subject_of
from geoseg.report.record import read_record
from geoseg.vector import read_region
from tests.networks import Box, write_model
from tests.rasters import write_raster
from tests.test_docs import commands
from tests.tile_servers import HALF, TileServer, encoded, serving_tiles

ZOOM, COLUMN, ROW = 18, 76_000, 97_000
BUSY = (503, {"Retry-After": "0"}, b"busy")
PAGE = (200, {"Content-Type": "text/html"}, b"<html>sign in</html>")


def smooth(bands: int, side: int = 768) -> Any:
    """Bytes that make patches of classes; alpha is whole."""
    y, x = np.mgrid[:side, :side]
    waves = [127 + 120 * np.sin(x / (37 + 11 * band)) * np.cos(y / (53 - 7 * band)) for band in range(bands)]
    return np.stack([*waves[:3], *(np.full((side, side), 255) for _ in waves[3:])]).astype(np.uint8)


@pytest.fixture(autouse=True)
def cache(empty_cache: Path) -> Path:
    """Where tiles are kept."""
    return empty_cache / "geoseg" / "tiles"


@pytest.fixture
def server() -> Iterator[TileServer]:
    with serving_tiles(TileServer(smooth(3), ZOOM, COLUMN, ROW)) as served:
        yield served


def bounds(server: TileServer, tiles: int = 3) -> str:
    left, top = server.transform @ (0, 0)
    right, bottom = server.transform @ (tiles * server.size, tiles * server.size)
    return f"{left},{bottom},{right},{top},EPSG:3857"


def opened(server: TileServer, given: str = "", *, tiles: int = 3, zoom: int | None = ZOOM, **more: Any) -> Raster:
    region = read_region(bounds(server, tiles))
    return open_imagery(given or server.template, region=region, zoom=zoom, **more)


def whole(raster: Raster) -> tuple[Any, Any]:
    return raster.read(Window(0, 0, *raster.shape))


def run(*words: str | Path) -> int:
    return main(["run", *map(str, words)])


# The whole way


@pytest.mark.slow
def test_a_map_of_tiles_is_that_of_a_file_and_a_second_run_asks_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = smooth(4, 768)
    pixels[3, 256:512, 256:512] = 0  # a transparent tile
    pixels[3, 600:680, 500:590] = 0
    scene = pixels.copy()
    scene[3, 512:768, :256] = 0  # a tile that is not there
    transform = TileServer(pixels, ZOOM, COLUMN, ROW).transform
    colors = ["red", "green", "blue", "alpha"]
    file = write_raster(tmp_path / "scene.tif", scene, crs="EPSG:3857", transform=transform, colorinterp=colors)
    model = write_model(tmp_path / "model", Box(4), name="box", halo=4, tile_size=256)
    options: list[str | Path] = ["--model", model, "--bands", "red,green", "--workers", "2"]
    with serving_tiles(TileServer(pixels, ZOOM, COLUMN, ROW, delay=0.01)) as server:
        options += ["--region", bounds(server, 3)]
        server.answers[COLUMN, ROW + 2] = [(404, {}, b"no such tile")]
        server.answers[COLUMN + 1, ROW] = [(503, {}, b"busy")]
        server.answers[COLUMN + 2, ROW + 1] = [(429, {"Retry-After": "0"}, b""), BUSY]
        service = {"tilejson": "3.0.0", "tiles": ["/{z}/{x}/{y}.png?key=SECRET"], "maxzoom": ZOOM}
        server.documents["/tiles.json?key=SECRET"] = json.dumps(service | {"attribution": "&copy; <b>Mappers</b>"})
        tiles = [f"{server.url}/tiles.json?key=SECRET", "--zoom", ZOOM, *options]
        assert run(*tiles, "--output", tmp_path / "out") == 0
        printed = " ".join("".join(capsys.readouterr()).split())
        assert "was busy or failed; requests repeated: 3." in printed
        assert "SECRET" not in printed
        pictures = [path for path in server.asked if "tiles.json" not in path]
        assert len(set(pictures)) == 9
        assert len(pictures) == 9 + 3
        assert server.most_at_once <= tile_cache.CONNECTIONS
        assert server.agents == {f"geoseg/{version('geoseg')}"}
        server.asked.clear()
        assert run(*tiles, "--output", tmp_path / "again") == 0
        assert [path for path in server.asked if "tiles.json" not in path] == []
    assert run(file, *options, "--output", tmp_path / "beside") == 0
    with rasterio.open(tmp_path / "out" / "labels.tif") as one, rasterio.open(tmp_path / "beside/labels.tif") as two:
        assert (one.read() == two.read()).all()
        assert one.transform.almost_equals(two.transform, 1e-6)
        assert set(np.unique(one.read())) == {0, 1, 255}
    for path in (tmp_path / "out").rglob("*"):
        assert not path.is_file() or b"SECRET" not in path.read_bytes(), path
    assert "© Mappers" in (tmp_path / "out" / "report.html").read_text()
    kept = json.loads((tmp_path / "out" / "run.json").read_text())
    assert kept["inputs"][0]["attribution"] == "© Mappers"
    assert any("repeated: 3." in sentence for sentence in kept["warnings"])
    assert "zoom 18 is read, 0.441 m on the ground" in kept["plan"]["raster"]["notes"][0]
    assert json.loads((tmp_path / "out" / "item.json").read_text())["properties"]["attribution"] == "© Mappers"


@pytest.mark.slow
def test_a_tile_that_is_a_page_fails_its_block_and_is_asked_for_again_later(
    server: TileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "model", Box(4), name="box", halo=4, tile_size=256)
    server.answers[COLUMN, ROW] = [PAGE] * 9

    options: list[str | Path] = [server.template, "--zoom", ZOOM, "--model", model, "--bands", "red,green"]  # type: ignore[list-item]
    options += ["--region", bounds(server, 3), "--workers", "1", "--retries", "0", "--output", tmp_path / "out"]
    assert run(*options) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"tile {ZOOM}/{COLUMN}/{ROW} of '{server.template}' is no whole PNG, JPEG or WebP picture" in said
    assert "<html>sign in" in said
    failed = json.loads((tmp_path / "out" / "run.json").read_text())["blocks"]["failed"]
    assert 0 < len(failed) < 9
    server.answers.clear()
    server.asked.clear()
    assert run(*options) == 0
    assert server.asked == [f"/{ZOOM}/{COLUMN}/{ROW}.png"]


@pytest.mark.slow
def test_the_commands_of_the_page_work_on_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with serving_tiles(TileServer(smooth(3), ZOOM - 1, COLUMN // 2, ROW // 2)) as coarse:
        coarse.documents["/tiles.json"] = json.dumps(
            {"tilejson": "3.0.0", "tiles": ["/{z}/{x}/{y}.png"], "maxzoom": 17}
        )
        coarse.documents["/WMTSCapabilities.xml"] = capabilities(coarse, layers=2).replace("ortho0", "ortho")
        left, top = coarse.transform @ (0, 0)
        right, bottom = coarse.transform @ (512, 512)
        gpd.GeoDataFrame(geometry=[box(left, bottom, right, top)], crs=3857).to_crs(4326).to_file("town.geojson")
        for command in commands("tiles"):
            words = shlex.split(
                command.replace("https://tiles.example.org", coarse.url).replace("--zoom 19", "--zoom 17")
            )
            assert main(words[1:]) == 0, command
    assert Path("town.png").is_file()
    assert subject_of(read_record("out/town")) == "127.0.0.1"


# What pictures are


@pytest.mark.parametrize(("bands", "form"), [(1, "PNG"), (3, "PNG"), (4, "PNG"), (4, "WEBP"), (3, "JPEG")], ids=str)
def test_pictures_of_every_kind_are_rgb(bands: int, form: str) -> None:
    pixels = smooth(bands, 512)
    with serving_tiles(TileServer(pixels, ZOOM, COLUMN, ROW, form=form)) as server:
        read, mask = whole(opened(server, tiles=2))
    assert mask.all()
    near = np.abs(read.astype(int) - (pixels[:3] if bands > 1 else np.repeat(pixels, 3, 0)))
    assert near.max() <= (0 if form == "PNG" else 60)
    assert near.mean() < 4


def test_a_palette_with_a_transparent_colour_is_read_as_colours_and_mask(server: TileServer) -> None:
    indexes = (np.arange(256 * 256) % 3).reshape(256, 256).astype(np.uint8)
    image = Image.fromarray(indexes, "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    path = Path(os.environ["XDG_CACHE_HOME"]).with_name("palette.png")
    image.save(path, transparency=1)
    server.answers[COLUMN, ROW] = [(200, {}, path.read_bytes())]
    read, mask = whole(opened(server, tiles=1))
    assert (mask == (indexes != 1)).all()
    assert (read[:, indexes == 2].T == [70, 80, 90]).all()


def test_tiles_of_512_px_have_half_the_pixel_and_a_zoom_less_is_chosen() -> None:
    with serving_tiles(TileServer(smooth(3, 1024), ZOOM - 1, COLUMN // 2, ROW // 2, size=512)) as server:
        server.answers[COLUMN, ROW] = server.answers[COLUMN + 1, ROW + 1] = [(200, {}, encoded(smooth(3, 512)))]
        raster = opened(server, tiles=2, zoom=None, resolution=0.4414)
        assert raster.shape == (1024, 1024)
        assert "zoom 17 is read, 0.441 m" in raster.notes[0]
        assert (whole(raster)[0] == server.pixels).all()


@pytest.mark.parametrize(
    ("latitude", "resolution", "zoom"), [(0, 0.3, 19), (60, 0.3, 18), (60, 0.29, 19), (60, 0.6, 17)]
)
def test_the_zoom_is_the_coarsest_that_is_as_fine_as_the_model_at_its_latitude(
    latitude: float, resolution: float, zoom: int
) -> None:
    pixel = 156_543.03 * math.cos(math.radians(latitude)) / 2**zoom
    assert pixel < resolution * 1.01 < 2 * pixel
    y = int((0.5 - math.asinh(math.tan(math.radians(latitude))) / 2 / math.pi) * 2**zoom)
    with serving_tiles(TileServer(smooth(3, 512), zoom, 2**zoom // 2, y)) as server:
        raster = opened(server, tiles=2, zoom=None, resolution=resolution)
    assert f"zoom {zoom} is read" in raster.notes[0]
    assert raster.resolution == pytest.approx((resolution, resolution), rel=0.011)


# Where tiles are


@pytest.mark.parametrize(
    ("template", "address"),
    [
        ("https://h/{z}/{x}/{y}.png", "https://h/3/3/5.png"),
        ("https://h/{z}/{x}/{-y}.png", "https://h/3/3/2.png"),
        ("https://{s}.h/{z}/{x}/{y}{r}.png", "https://a.h/3/3/5.png"),
        ("https://{b-d}.h/{z}/{x}/{y}", "https://b.h/3/3/5"),
        ("https://{switch:m1,m2}.h/{z}/{x}/{y}", "https://m1.h/3/3/5"),
        ("https://h/a{q}.jpeg", "https://h/a213.jpeg"),  # the example of Microsoft's Bing Maps Tile System
        ("https://h/${GEOSEG_TEST_KEY}/{z}/{x}/{y}", "https://h/abc/3/3/5"),
    ],
)
def test_variables_of_a_template_are_replaced(template: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOSEG_TEST_KEY", "abc")
    assert of_template(template, template).matrices[3].address(5, 3) == address


def test_a_wms_is_asked_by_the_bounds_of_tiles(server: TileServer) -> None:
    template = f"{server.url}/wms?bbox={{bbox-epsg-3857}}&width={{width}}"
    matrix = of_template(template, template).matrices[ZOOM]
    bbox, width = re.fullmatch(r".*bbox=(.*)&width=(\d+)", matrix.address(ROW, COLUMN)).groups()  # type: ignore[union-attr]
    left, top = server.transform @ (0, 0)
    right, bottom = server.transform @ (256, 256)
    assert [float(part) for part in bbox.split(",")] == pytest.approx([left, bottom, right, top], abs=1e-6)
    assert width == "256"


def capabilities(server: TileServer, *, kvp: bool = False, layers: int = 1) -> str:
    """A WMTS of two zooms whose set is named ``grid``."""
    where = (
        "" if kvp else '<ResourceURL format="image/png" resourceType="tile" '
        f'template="{server.url}/{{TileMatrix}}/{{TileCol}}/{{TileRow}}.png"/>'
    )  # fmt: skip
    layer = "".join(
        f"<Layer><ows:Identifier>ortho{number}</ows:Identifier><Style isDefault='true'><ows:Identifier>plain"
        "</ows:Identifier></Style><Format>image/png</Format><TileMatrixSetLink><TileMatrixSet>grid</TileMatrixSet>"
        f"</TileMatrixSetLink>{where}</Layer>"
        for number in range(layers)
    )
    matrices = "".join(
        f"<TileMatrix><ows:Identifier>{zoom}</ows:Identifier><ScaleDenominator>{559082264.0287178 / 2**zoom!r}"
        f"</ScaleDenominator><TopLeftCorner>{-HALF!r} {HALF!r}</TopLeftCorner><TileWidth>256</TileWidth><TileHeight>256"
        f"</TileHeight><MatrixWidth>{2**zoom}</MatrixWidth><MatrixHeight>{2**zoom}</MatrixHeight></TileMatrix>"
        for zoom in (ZOOM - 1, ZOOM)
    )
    return (
        '<Capabilities xmlns="http://www.opengis.net/wmts/1.0" xmlns:ows="http://www.opengis.net/ows/1.1" '
        'xmlns:xlink="http://www.w3.org/1999/xlink" version="1.0.0"><ows:ServiceIdentification><ows:AccessConstraints>'
        "CC BY 4.0</ows:AccessConstraints></ows:ServiceIdentification><ows:ServiceProvider><ows:ProviderName>Survey"
        "</ows:ProviderName></ows:ServiceProvider><ows:OperationsMetadata><ows:Operation name='GetTile'><ows:DCP>"
        f"<ows:HTTP><ows:Get xlink:href='{server.url}/kvp?'/></ows:HTTP></ows:DCP></ows:Operation>"
        f"</ows:OperationsMetadata><Contents>{layer}<TileMatrixSet><ows:Identifier>grid</ows:Identifier>"
        f"<ows:SupportedCRS>urn:ogc:def:crs:EPSG::3857</ows:SupportedCRS>{matrices}</TileMatrixSet></Contents>"
        "</Capabilities>"
    )


def test_a_wmts_lies_where_gdal_has_it_and_says_whose_it_is(server: TileServer) -> None:
    server.documents["/WMTSCapabilities.xml"] = capabilities(server)
    address = f"{server.url}/WMTSCapabilities.xml"
    raster = opened(server, address)
    assert raster.sources[0].attribution == "Survey; CC BY 4.0"
    assert (whole(raster)[0] == server.pixels).all()
    with rasterio.open(f"WMTS:{address}") as other:
        shift = ~other.transform @ raster.transform
        assert (shift.a, shift.e) == pytest.approx((1, 1), rel=1e-7)
        left, top = round(shift.c), round(shift.f)
        assert (shift.c, shift.f) == pytest.approx((left, top), abs=0.01)
        part = other.read([1, 2, 3], window=rasterio.windows.Window(left, top, 600, 600))
    assert (part == whole(raster)[0][:, :600, :600]).all()


def test_a_wmts_of_several_layers_is_asked_for_one_by_keys_and_values(server: TileServer) -> None:
    address = f"{server.url}/kvp?service=WMTS&request=GetCapabilities"
    server.documents["/kvp?service=WMTS&request=GetCapabilities"] = capabilities(server, kvp=True, layers=2)
    with pytest.raises(CatalogError, match=r"2 layers; name one of ortho0, ortho1, such as 'WMTS:http.*,layer=ortho0'"):
        opened(server, address)
    with pytest.raises(RegionError, match="no tile at zoom 18"):
        opened(server, f"WMTS:{address},layer=ortho1")
    asked = server.asked[-1]
    assert "layer=ortho1&style=plain&format=image/png&tilematrixset=grid&tilematrix=18&tilerow=" in asked


def test_tilejson_counts_rows_from_below_where_it_says_so(server: TileServer) -> None:
    service = {"tilejson": "2.2.0", "scheme": "tms", "tiles": [f"{server.url}/{{z}}/{{x}}/{{y}}.png"]}
    server.documents["/tiles.json"] = json.dumps(service)
    with pytest.raises(RegionError, match="no tile at zoom 18"):
        opened(server, f"{server.url}/tiles.json")
    assert server.asked[1] == f"/{ZOOM}/{COLUMN + 1}/{2**ZOOM - 1 - ROW - 1}.png"


# What goes wrong


@pytest.mark.parametrize(
    ("zooms", "known", "sentence"),
    [
        ({"minzoom": None, "maxzoom": "16.0"}, range(17), ""),
        ({"minzoom": 2, "maxzoom": None}, range(2, DEEPEST + 1), ""),
        ({"minzoom": 9, "maxzoom": 3}, (), "whose minzoom is above its maxzoom; correct it"),
        ({"maxzoom": "all"}, (), "whose maxzoom is 'all'; it must be a number up to 30"),
        ({"maxzoom": 1e9}, (), "whose maxzoom is 1000000000.0; it must be a number up to 30"),
    ],
)
def test_zooms_of_tilejson_may_be_text_or_null(zooms: dict[str, Any], known: Sequence[int], sentence: str) -> None:
    document = {"tilejson": "3.0.0", "tiles": ["https://tiles.example/{z}/{x}/{y}.png"], **zooms}
    if sentence:
        with pytest.raises(CatalogError, match=sentence):
            of_tilejson("https://tiles.example/t.json", document)
    else:
        matrices = of_tilejson("https://tiles.example/t.json", document).matrices
        assert [int(matrix.name) for matrix in matrices] == list(known)


def test_zooms_may_be_written_with_zeros_and_go_deeper_where_they_are_asked_for(server: TileServer) -> None:
    written = capabilities(server).replace(f"<ows:Identifier>{ZOOM}<", f"<ows:Identifier>0{ZOOM}<")
    server.documents["/WMTSCapabilities.xml"] = written
    region = read_region(bounds(server))
    service = _of_wmts(f"{server.url}/WMTSCapabilities.xml")
    assert TileRequest(region, ZOOM, None)._choose(service, region).name == f"0{ZOOM}"
    assert TileRequest(region, ZOOM - 1, None)._choose(service, region).name == str(ZOOM - 1)
    server.zoom, server.column, server.row = ZOOM + 5, COLUMN * 32, ROW * 32  # drones have 23
    assert opened(server, zoom=ZOOM + 5).geobox.crs == "EPSG:3857"
    with pytest.raises(WorkflowError, match="has no zoom 31; give one of 0, 1, "):
        opened(server, zoom=31)


def test_what_a_person_can_do_wrong_is_said_in_a_sentence(server: TileServer) -> None:
    region = read_region(bounds(server))
    server.documents["/vector.json"] = json.dumps(
        {"tilejson": "3.0.0", "tiles": [server.template], "vector_layers": []}
    )
    server.documents["/low.json"] = json.dumps({"tilejson": "3.0.0", "tiles": [server.template], "maxzoom": 3})
    cases: list[tuple[Any, dict[str, Any], type[GeosegError], str]] = [
        (server.template, {"zoom": 3}, WorkflowError, "is a tile service without an end; give --region"),
        (server.template, {"region": region}, WorkflowError, "no resolution says which zoom of .* give --zoom"),
        (server.template, {"region": region, "zoom": 17}, RegionError, "has no tile at zoom 17 in the middle"),
        (f"{server.url}/low.json", {"region": region, "zoom": 17}, WorkflowError, "no zoom 17; give one of 0, 1, 2, 3"),
        (f"{server.url}/vector.json", {"region": region, "zoom": 1}, CatalogError, "as of vector tiles"),
        (f"{server.url}/{{k}}/{{z}}", {"region": region, "zoom": 1}, WorkflowError, "has {k}, which is no variable"),
        (server.template + "${NOPE}", {"region": region, "zoom": 1}, WorkflowError, "not set in the environment"),
        (f"{server.url}/a.tif", {"zoom": 1}, WorkflowError, "zoom belongs to tile services, and"),
    ]
    for given, options, kind, words in cases:
        with pytest.raises(kind, match=words):
            open_imagery(given, **options)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((403, {}, b"no key"), "answers HTTP 403; correct the address, its key or the zoom"),
        (
            (503, {"Retry-After": "3600"}, b""),
            "last answer was HTTP 503, to be asked again in 3,600 s",
        ),
        (
            (200, {}, encoded(smooth(3, 200))),
            "has 200 x 200 px and the others 256 x 256, so it stands for one that is missing",
        ),
        ((200, {}, encoded(smooth(3, 256))[:-3000]), "is no whole PNG, JPEG or WebP picture"),
        (PAGE, "it begins with '<html>sign in</html>'; open its address in a browser"),
    ],
    ids=["refused", "busy for long", "another size", "cut off", "page"],
)
def test_a_tile_that_is_none_is_an_error_and_is_not_kept(
    server: TileServer, answer: tuple[int, dict[str, str], bytes], words: str
) -> None:
    raster = opened(server)
    server.answers[COLUMN, ROW] = [answer]
    with pytest.raises(RasterReadError, match=re.escape(words)):
        whole(raster)
    assert (whole(raster)[0] == server.pixels).all()


def test_a_kept_tile_that_was_cut_off_is_fetched_anew(server: TileServer, cache: Path) -> None:
    raster = opened(server, tiles=1)
    (kept,) = (path for path in cache.rglob(str(ROW)) if path.is_file())
    kept.write_bytes(kept.read_bytes()[:500])
    assert (whole(raster)[0] == server.pixels[:, :256, :256]).all()
    assert len(server.asked) == 2


@pytest.mark.slow
def test_a_service_where_files_are_read_is_told_so(server: TileServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["polygonize", server.template, "out.gpkg"]) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert "is a tile service, which is read in a region only" in said


def test_mbtiles_keep_their_pixel_and_their_holes(tmp_path: Path) -> None:
    pixels = smooth(3, 512)
    pixels[:, :256, 256:] = 0
    transform = TileServer(pixels, ZOOM, COLUMN, ROW).transform
    mask = np.ones((512, 512), bool)
    mask[:256, 256:] = False
    alpha = np.where(mask, 255, 0).astype(np.uint8)[None]
    path = write_raster(
        tmp_path / "a.mbtiles", np.concatenate([pixels, alpha]), crs="EPSG:3857", transform=transform, driver="MBTiles"
    )
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2])
    raster = open_imagery(str(path))
    read, valid = whole(raster)
    assert raster.bands == ("red", "green", "blue")
    assert raster.transform.almost_equals(transform, 1e-6)
    assert (valid == mask).all()
    assert (read == pixels).all()
