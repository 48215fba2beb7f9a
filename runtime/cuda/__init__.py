"""Plans played on this computer's GPU, or in Numba's simulator of one.

    driver.py       what driver and GPUs there are; imports neither Numba nor CUDA
    device.py       memory, copies, streams, events and captured steps: of the GPU, or of the simulator
    arena.py        a rank's values in one allocation, at the places that `hw.lower` chose
    bound.py        a rank's actions bound to places: what each of them puts on its stream
    letters.py      what ranks send each other, through the host's memory
    step.py         a step put on streams, action by action, or captured whole
    executor.py     many steps: batches in, losses out, whatever a parent asks
    hashes.py       of which sources CUDA kernels are made
    calibration.py  kernels and copies timed one by one

Who is played is decided elsewhere: order by the plan, places and kernels by `hw.lower`, launches by `runtime.kernels.cuda`.
"""
