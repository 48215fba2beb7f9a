"""Times it: SimPy players for devices, links and input, one Timeline out. Start at `sim.play`; what it asks is `sim.model`."""
