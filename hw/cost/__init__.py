"""Cost models: how long a kernel call takes on a device. Registered here, by name; `cost_model` chooses for a device."""

from hw.cost.calibrated import CalibratedModel, calibrated_model
from hw.cost.nfu import NfuModel, nfu_model
from hw.cost.record import COST_MODELS, CostModel
from hw.cost.roofline import RooflineModel, roofline_model
from hw.device import Device
from hw.gpu_profile import AnyProfile

__all__ = ["COST_MODELS", "CalibratedModel", "CostModel", "NfuModel", "RooflineModel", "cost_model"]

COST_MODELS.add("roofline", roofline_model)
COST_MODELS.add("calibrated", calibrated_model)
COST_MODELS.add("nfu", nfu_model)


def cost_model(device: Device, profile: AnyProfile | None = None, name: str | None = None) -> CostModel:
    """The cost model of a device: the one named, else by what is known of it: its NFU, its peaks, a calibration."""
    if name is None:
        name = "nfu" if device.nfu is not None else "roofline" if device.peak else "calibrated"
    return COST_MODELS[name](device, profile)
