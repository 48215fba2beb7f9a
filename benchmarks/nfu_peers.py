"""What other tools take for layers: run by `nfu.py` with the Python that has them, one tool and one list of layers a process.

    python nfu_peers.py TOOL < layers.json          # -> {"version": ..., "seconds": [...], "cycles": ...}

Layers are objects with name, kind, nx, ny, kx, ky, sx, sy, ni, no, groups. Seconds are CPU time of this process, imports left
out; what takes less than a second is done again. Every tool is set to resemble DianNao as far as it can be: 16 x 16 multipliers
of 16 bits, 255 bytes a cycle from the main memory.
"""

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from types import SimpleNamespace
from typing import Any

Layer = Any
Run = Callable[[], int]
ROUNDS, ENOUGH = 5, 1.0
BUFFER_BITS, SYNAPSE_BITS = 2 * 1024 * 8, 32 * 1024 * 8


def zigzag(layers: list[Layer], folder: Path, *, draws: bool = True) -> Run:
    """ZigZag: searches a mapping, counts latency and energy.

    K on 16 rows, C on 16 columns; a register for each adder tree, NBout and NBin of 2 KB with ports of 256 bits, SB of 32 KB with
    ports of 4096, one shared port of 2040 bits to the main memory. `draws`: its API also draws the memories.
    """
    import logging

    import yaml
    from zigzag.api import get_hardware_performance_zigzag
    from zigzag.stages.results import visualization

    def memory(size: int, bits: int, operands: list[str], served: list[str], *ports: tuple[str, str]) -> dict[str, Any]:
        return {
            "size": size, "r_cost": 1.0, "w_cost": 1.0, "area": 0.0, "latency": 1, "operands": operands,
            "served_dimensions": served,
            "ports": [
                {"name": name, "type": {"r": "read", "w": "write", "rw": "read_write"}[name.split("_")[0]], "bandwidth_min": bits,
                 "bandwidth_max": bits, "allocation": allocation.split("; ")}
                for name, allocation in ports
            ],
        }  # fmt: skip

    both, one = ["D1", "D2"], ("r_port_1", "w_port_1")
    shared = "I1, fh; I1, tl; I2, fh; I2, tl; O, fh; O, tl; O, fl; O, th"
    sums = (("r_port_1", "O, tl"), ("r_port_2", "O, th"), ("w_port_1", "O, fh"), ("w_port_2", "O, fl"))
    accelerator = {
        "name": "diannao_like",
        "memories": {
            "sum": memory(16, 16, ["O"], ["D2"], *sums),
            "nbout": memory(BUFFER_BITS, 256, ["O"], both, (one[0], "O, tl; O, th"), (one[1], "O, fh; O, fl")),
            "nbin": memory(BUFFER_BITS, 256, ["I1"], both, (one[0], "I1, tl"), (one[1], "I1, fh")),
            "sb": memory(SYNAPSE_BITS, 4096, ["I2"], both, (one[0], "I2, tl"), (one[1], "I2, fh")),
            "dram": memory(10**12, 2040, ["I1", "I2", "O"], both, ("rw_port_1", shared)),
        },
        "operational_array": {"unit_energy": 1.0, "unit_area": 1, "dimensions": both, "sizes": [16, 16]},
    }
    links = {"O": "O", "W": "I2", "I": "I1"}
    mapping = [{"name": "default", "spatial_mapping": {"D1": ["K, 16"], "D2": ["C, 16"]}, "memory_operand_links": links}]

    def workload(number: int, layer: Layer) -> dict[str, Any]:
        g, ox, oy = layer.groups, (layer.nx - layer.kx) // layer.sx + 1, (layer.ny - layer.ky) // layer.sy + 1
        sizes = {"B": 1, "K": layer.no // g, "C": layer.ni // g, "OY": oy, "OX": ox, "FY": layer.ky, "FX": layer.kx}
        equation = "O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]"
        if g > 1:
            sizes["G"], equation = g, "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]"
        return {
            "id": number, "name": layer.name, "operator_type": "Conv", "equation": equation,
            "dimension_relations": [f"ix={layer.sx}*ox+1*fx", f"iy={layer.sy}*oy+1*fy"],
            "loop_dims": list(sizes), "loop_sizes": list(sizes.values()),
            "operand_precision": {"O": 16, "O_final": 16, "W": 16, "I": 16}, "operand_source": {"W": number, "I": number},
        }  # fmt: skip

    logging.disable(logging.CRITICAL)
    if not draws:
        visualization.visualize_memory_hierarchy_graph = lambda *_, **__: None
    files = {"accelerator": accelerator, "mapping": mapping}
    for name, what in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(what, sort_keys=False))

    def run() -> int:
        cycles = 0
        for layer in layers:  # one by one, as they have nothing to do with each other
            found = get_hardware_performance_zigzag(
                [workload(0, layer)], str(folder / "accelerator.yaml"), str(folder / "mapping.yaml"), opt="latency",
                dump_folder=str(folder / "out"), pickle_filename=str(folder / "out.pickle"), loma_show_progress_bar=False,
            )  # fmt: skip
            cycles += round(found[1])
        return cycles

    return run


def zigzag_plain(layers: list[Layer], folder: Path) -> Run:
    """The same without the picture."""
    return zigzag(layers, folder, draws=False)


def nn_dataflow(layers: list[Layer], folder: Path) -> Run:
    """nn_dataflow: searches loop blockings, row stationary; array of 16 x 16, buffer of 36 KB, goal: delay, one process."""
    from nn_dataflow.core import ConvLayer, FCLayer, InputLayer, Network, PoolingLayer
    from nn_dataflow.tools import nn_dataflow_search as tool

    flags = "--batch 1 --word 16 --nodes 1 1 --array 16 16 --regf 512 --gbuf 36864 --dram-bw 255 -g d -p 1"

    def network(layer: Layer) -> Network:
        """Of a layer; of its groups one."""
        net, g = Network(layer.name), layer.groups
        out = ((layer.ny - layer.ky) // layer.sy + 1, (layer.nx - layer.kx) // layer.sx + 1)
        window, steps = (layer.ky, layer.kx), (layer.sy, layer.sx)
        read = tuple((n - 1) * step + size for n, step, size in zip(out, steps, window))  # what is left over it does not take
        net.set_input_layer(InputLayer(layer.ni // g, read))
        if layer.kind == "pool":
            net.add(layer.name, PoolingLayer(layer.no, out, window, strd=steps))
        elif layer.kind == "classifier":
            net.add(layer.name, FCLayer(layer.ni, layer.no))
        else:
            net.add(layer.name, ConvLayer(layer.ni // g, layer.no // g, out, window, strd=steps))
        return net

    def search(net: Network) -> int:
        tool.import_network = lambda _: net
        return int(tool.do_scheduling(tool.argparser().parse_args(["alex_net", *flags.split()]))["total_time"])

    search(network(SimpleNamespace(name="warm", kind="classifier", nx=1, ny=1, kx=1, ky=1, sx=1, sy=1, ni=6, no=10, groups=1)))

    def run() -> int:
        if len(layers) > 6:  # AlexNet with pools and classifiers: a network that comes with it
            from nn_dataflow.nns import import_network

            return search(import_network("alex_net"))
        return sum(search(network(layer)) * layer.groups for layer in layers)

    return run


def scale_sim(layers: list[Layer], folder: Path, dataflow: str) -> Run:
    """SCALE-Sim: a systolic array of 16 x 16, buffers of 1, 16 and 1 kB; operands and demands cycle by cycle; the loop that
    serves memory is left out.
    """
    from scalesim.layout_utils import layouts
    from scalesim.scale_config import scale_config
    from scalesim.single_layer_sim import single_layer_sim
    from scalesim.topology_utils import topologies

    class Memory:
        rows = 0

        def set_read_buf_prefetch_matrices(self, **_: object) -> None:
            """Nothing is kept."""

        def service_memory_requests(self, ifmap: Any, filters: Any, ofmap: Any) -> None:
            self.rows = len(ofmap)

    def one(layer: Layer) -> int:
        config = scale_config()
        config.update_from_list(["nfu", 16, 16, 1, 16, 1, 0, 10_000_000, 20_000_000, dataflow, "USER", [128]])
        table, memory = topologies(), Memory()
        row = [layer.name, layer.ny, layer.nx, layer.ky, layer.kx, layer.ni, layer.no, layer.sy, layer.sx, 1, 1]
        table.append_topo_arrays(layer.name, row)
        table.num_layers, table.topo_load_flag = 1, True
        table.topo_calc_hyperparams()
        table.set_spatio_temporal_params()
        sim = single_layer_sim()
        sim.set_memory_system(memory)
        sim.set_params(layer_id=0, config_obj=config, topology_obj=table, layout_obj=layouts(), verbose=False)
        sim.run()
        return memory.rows - 1

    return lambda: sum(map(one, layers))


TOOLS: dict[str, tuple[str, Callable[[list[Layer], Path], Run], int]] = {
    "zigzag": ("zigzag-dse", zigzag, ROUNDS),
    "zigzag-plain": ("zigzag-dse", zigzag_plain, ROUNDS),
    "nn_dataflow": ("nn_dataflow", nn_dataflow, 1),  # once: it keeps what it has found
    "scale-sim-ws": ("scalesim", lambda layers, folder: scale_sim(layers, folder, "ws"), ROUNDS),
    "scale-sim-os": ("scalesim", lambda layers, folder: scale_sim(layers, folder, "os"), ROUNDS),
}


def main() -> None:
    package, tool, rounds = TOOLS[sys.argv[1]]
    layers = [SimpleNamespace(**layer) for layer in json.load(sys.stdin)]
    seconds: list[float] = []
    with TemporaryDirectory() as folder, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        run = tool(layers, Path(folder))
        while not seconds or (len(seconds) < rounds and sum(seconds) < ENOUGH):
            start = process_time()
            cycles = run()
            seconds.append(process_time() - start)
    json.dump({"version": f"{package} {version(package)}", "seconds": seconds, "cycles": cycles}, sys.stdout)


if __name__ == "__main__":
    main()
