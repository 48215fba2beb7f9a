"""Layers, schedules and settings of an NFU as texts: read back as they were written, and every mistake named."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.fixed_point import Fixed, Rounding
from hw.errors import HwError
from hw.nfu.config import WIDE, Cut, Nfu
from hw.nfu.layer import Function, Kind, Layer, Pooling
from hw.nfu.nest import Order, Schedule
from trainscape.errors import ScenarioError
from trainscape.nfu.config import configured, document, from_document
from trainscape.nfu.figures import schedule_document
from trainscape.nfu.schedules import read_schedule, schedule_text
from trainscape.nfu.shape import read_shape, shape_text
from trainscape.report.json_document import plain

SMALL = st.integers(1, 9)


@st.composite
def layers(draw: Any) -> Layer:
    kind, groups = draw(st.sampled_from(Kind)), draw(st.integers(1, 3))
    function = draw(st.sampled_from(Function))
    ni, no = groups * draw(SMALL), groups * draw(SMALL)
    if kind is Kind.CLASSIFIER:
        return Layer(name="x", kind=kind, nx=draw(SMALL), ni=ni, no=no, has_bias=draw(st.booleans()), function=function)
    kx, ky = draw(SMALL), draw(SMALL)
    image = {"nx": kx + draw(SMALL), "ny": ky + draw(SMALL), "kx": kx, "ky": ky, "sx": draw(SMALL), "sy": draw(SMALL)}
    rows, columns = ((image[k] - 1) // 2 for k in ("ny", "nx"))
    image |= {"batch": draw(SMALL), "border": (draw(st.integers(0, rows)), draw(st.integers(0, columns)))}
    if kind is Kind.POOL:
        return Layer(name="x", kind=kind, ni=ni, no=ni, function=function, pooling=draw(st.sampled_from(Pooling)), **image)
    flags = {"is_private": draw(st.booleans()), "has_bias": draw(st.booleans())}
    return Layer(name="x", kind=kind, ni=ni, no=no, groups=groups, function=function, **flags, **image)


class TestShapes:
    @settings(max_examples=200, deadline=None)
    @given(layers())
    def test_there_and_back(self, layer: Layer) -> None:
        assert read_shape(shape_text(layer), "x") == layer

    def test_what_is_left_out(self) -> None:
        assert read_shape("conv:nx=32,ny=30,kx=3,ky=3,ni=48,no=40") == Layer(
            name="layer", kind=Kind.CONV, nx=32, ny=30, kx=3, ky=3, ni=48, no=40
        )
        assert read_shape("pool:nx=8,ny=8,kx=2,ky=4,ni=3") == Layer(
            name="layer", kind=Kind.POOL, nx=8, ny=8, kx=2, ky=4, sx=2, sy=4, ni=3, no=3
        )
        assert read_shape(" CLASS: NI = 4 , no=5, batch=3") == read_shape("classifier:ni=4,no=5,batch=3")
        assert read_shape("class:ni=4,no=5,batch=3").nx == 3

    @pytest.mark.parametrize(
        ("text", "mistakes"),
        [
            ("", ["1 a shape begins with its kind, such as conv:, got ''"]),
            ("cnv:nx=3", ["1 a shape begins with its kind, such as conv:, got 'cnv'; did you mean 'conv'?"]),
            ("conv", ["5 a shape goes on with its extents"]),
            ("class:", ["7 ni and no missing"]),
            ("class:ni=960,noo=20", ["14 unknown key 'noo'; did you mean 'no'?", "20 no missing"]),
            ("class:ni=x,no=20", ["10 must be a whole number of at least 1, got 'x'"]),
            ("class:ni=0,no=-1", ["10 must be a whole number", "15 must be a whole number"]),
            ("class:ni=1,no=2,kx=3", ["17 a classifier layer has none"]),
            ("pool:nx=4,ny=4,ni=4,bias=1", ["21 a pool layer has none"]),
            ("class:ni=1,no=2,ni=3", ["17 stands here twice"]),
            ("class:ni=1,no", ["12 'no' is not of the form key=value"]),
            (
                "class:ni=1,no=2,bias=maybe,function=gelu",
                ["22 must be true or false", "37 must be linear or relu or tanh or sigmoid"],
            ),
            ("conv:nx=4,ny=4,kx=5,ni=1,no=1", ["1 kx is 5, but the image has only 4"]),
            ("conv:nx=4,ny=9,ni=1,no=1,border=2", ["1 border is (2, 2); it lies within the 9 rows and 4 columns"]),
            ("conv:nx=4,ny=4,ni=3,no=4,groups=2", ["1 2 groups do not divide 3 and 4 maps"]),
            ("conv:nx=4,ny=4,ni=3,no=4,border=a", ["33 must be rows, or rows x columns such as 1x2, got 'a'"]),
        ],
    )
    def test_mistakes(self, text: str, mistakes: list[str]) -> None:
        with pytest.raises(ScenarioError) as e:
            read_shape(text)
        found = [f"{m.column} {m.message}" for m in e.value.mistakes]
        assert len(found) == len(mistakes) and all(f.startswith(w) for f, w in zip(found, mistakes, strict=True))

    def test_as_a_command_says_it(self, cli: Any) -> None:
        found = cli("nfu", "run", "--shape", "conv:nx=32,nyy=32,ni=48,no=40", "--json")
        assert found.code == found.document["error"]["code"] == 3
        assert [m["path"] for m in found.document["error"]["mistakes"]] == ["nyy", ""]
        assert found.err.splitlines()[:3] == [
            "--shape: error: nyy: unknown key 'nyy'; did you mean 'ny'?",
            "     1 | conv:nx=32,nyy=32,ni=48,no=40",
            "       |            ^",
        ]


class TestSchedules:
    @given(st.tuples(*[SMALL] * 6), st.sampled_from(Order))
    def test_there_and_back(self, numbers: tuple[int, ...], order: Order) -> None:
        rows, columns, window_rows, window_columns, maps, block = numbers
        s = Schedule(
            rows=rows,
            columns=columns,
            window_rows=window_rows,
            window_columns=window_columns,
            maps=maps,
            block=block,
            order=order,
        )
        assert read_schedule(schedule_text(schedule_document(s))) == s

    def test_all_mistakes(self) -> None:
        with pytest.raises(ScenarioError) as e:
            read_schedule("rows=0,colums=3,order=outputs,maps,rows=2,rows=3")
        assert [m.column for m in e.value.mistakes] == [1, 8, 17, 31, 43]
        assert "did you mean 'columns'?" in str(e.value) and "must be synapses or inputs, got 'outputs'" in str(e.value)


class TestSettings:
    def test_fields_and_fields_of_parts(self) -> None:
        wide = [f"nfu.arithmetic.{k}={getattr(WIDE, k)}" for k in ("cut", "rounding", "product_bits", "tree_bits", "sum_bits")]
        assert configured(Nfu(), wide).arithmetic == WIDE
        found = configured(Nfu(), ["nfu.tn=32", "nfu.neuron.bits=8", "nfu.neuron.fraction=4", "nfu.stage_cycles=[1, 1, 2]"])
        assert (found.tn, found.neuron, found.stage_cycles, found.ti) == (32, Fixed(bits=8, fraction=4), (1, 1, 2), 16)

    def test_units(self) -> None:
        found = configured(
            Nfu(), ["nfu.clock_hz=606 MHz", "nfu.dram_bytes_per_second=12.8 GB/s", "nfu.dram_latency_seconds=60 ns"]
        )
        assert (found.clock_hz, found.dram_bytes_per_second, found.dram_latency_seconds) == (606e6, 12.8e9, 60e-9)
        assert configured(Nfu(), ["nfu.clock_hz=1e9"]).clock_hz == 1e9

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ("nfu.tnn=3", "nfu has no 'tnn'; did you mean 'tn'?"),
            ("nfu.arithmetic.cutt=tree", "nfu.arithmetic has no 'cutt'; did you mean 'cut'?"),
            ("nfu.arithmetic=3", "it is a part of several fields: arithmetic.cut"),
            ("nfu.tn.x=3", "nfu.tn is 16, which has no fields"),
            ("nfu.sb_rows=0", "sb_rows must be a whole number from 1 to"),
            ("nfu.tn=16.5", "must be a whole number, got '16.5'"),
            ("nfu.tn=true", "must be a whole number, got 'true'"),
            ("nfu.clock_hz=fast", "'fast' does not begin with a number"),
            ("nfu.clock_hz=1 GB/s", "is a unit of bytes per second, but hertz is wanted"),
            ("nfu.reach=6 m", "must be a number, got '6 m'"),
            ("nfu.arithmetic.cut=end", "must be product or tree or output, got 'end'"),
            ("nfu.arithmetic.cut=output", "product_bits is 16, but a product of 16 by 16 bits"),
            ("nfu.neuron.fraction=16", "neuron: a word of 16 bits has 0 to 15 fraction bits"),
            ("nfu.segments=3", "segments must be an even number"),
            ("nfu.stage_cycles=3", "must be a list of whole numbers such as [3, 2, 3]"),
            ("nfu.tn=", "no value"),
        ],
    )
    def test_mistakes_name_the_setting(self, setting: str, message: str) -> None:
        with pytest.raises(ScenarioError, match=re.escape(message)) as e:
            configured(Nfu(), [setting])
        (mistake,) = e.value.mistakes
        assert mistake.place == f"--set {setting.partition('=')[0]}"

    def test_all_mistakes_at_once(self) -> None:
        with pytest.raises(ScenarioError) as e:
            configured(Nfu(), ["nfu.tnn=3", "nfu.ti=4", "nfu.lines=bent"])
        assert [m.path for m in e.value.mistakes] == ["nfu.tnn", "nfu.lines"]

    def test_of_several_the_guilty_one(self) -> None:
        with pytest.raises(ScenarioError) as e:
            configured(Nfu(), ["nfu.tn=4", "nfu.nbin_rows=0"])
        assert e.value.mistakes[0].path == "nfu.nbin_rows"

    def test_documents(self) -> None:
        odd = Nfu(tn=7, neuron=Fixed(bits=9, fraction=3), arithmetic=WIDE, technology_nm=28.0)
        assert from_document(plain(document(odd))) == odd
        assert document(odd)["arithmetic"]["cut"] is Cut.OUTPUT and document(odd)["arithmetic"]["rounding"] is Rounding.NEAREST

    def test_every_design_of_the_catalogue(self) -> None:
        from hw.catalogue import device
        from trainscape.nfu.config import devices, nfu_of

        assert "diannao" in devices()
        for name in devices():
            assert from_document(plain(document(nfu_of(name)))) == nfu_of(name) == device(name).nfu

    def test_a_field_that_cannot_be_set(self) -> None:
        with pytest.raises(HwError):
            Nfu(tn=0)
