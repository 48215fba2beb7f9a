"""Cost models: how long a kernel call takes on a device. Registered here, by name; `cost_model` chooses for a device."""

from hw.cost.calibrated import CalibratedModel, calibrated_model
from hw.cost.record import COST_MODELS, CostModel
from hw.cost.roofline import RooflineModel, roofline_model
from hw.device import Device
from hw.profile import Profile

__all__ = ["COST_MODELS", "CalibratedModel", "CostModel", "RooflineModel", "cost_model"]

COST_MODELS.add("roofline", roofline_model)
COST_MODELS.add("calibrated", calibrated_model)


def cost_model(device: Device, profile: Profile | None = None, name: str | None = None) -> CostModel:
    """The cost model of a device: the one named, else the roofline where its peaks are known, else the calibrated one."""
    return COST_MODELS[name or ("roofline" if device.peak else "calibrated")](device, profile)
