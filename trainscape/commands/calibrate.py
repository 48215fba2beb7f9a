"""``trainscape calibrate``"""

from typing import TYPE_CHECKING, Any

import click

from trainscape.commands.options import Options, common

if TYPE_CHECKING:
    from hw.profile import Profile


@click.command("calibrate")
@click.option("--quick", is_flag=True, help="A quarter of the time: what the demo does where there is no profile.")
@common(scenario=False, device=True)
def command(options: Options, quick: bool) -> int:
    """Measure this computer's kernels, cores and memory once (up to 3 minutes); predictions for system host use the profile.

    With --device cuda its GPU instead: kernels, copies, letters; a checkout keeps the profile in hw/catalogue/profiles/.

    Leave the computer alone meanwhile. Whole models are never measured: they are what is predicted.
    """
    return _gpu(options, quick) if options.device == "cuda" else _host(options, quick)


def _gpu(options: Options, quick: bool) -> int:
    from hw.gpu_profile import save_gpu_profile
    from runtime.cuda.driver import require_gpu
    from trainscape.gpu_profile import place_of
    from trainscape.progress import progress
    from trainscape.report.json_document import result
    from trainscape.report.tables import plain_table

    require_gpu()
    from trainscape.calibrate_gpu import calibrate_gpu

    with progress(options.output, "calibration", every_phase=True) as shown:
        profile = calibrate_gpu(quick=quick, instruments=[shown])
    path = save_gpu_profile(profile, place_of(profile.gpu))
    rows = [[name, f"{100 * k.busy[1].rms:.1f} %"] for name, k in sorted(profile.kernels.items())]
    options.output.show(plain_table(("kernel", "residual (rms)"), rows))
    options.output.show(f"profile of {profile.gpu}: {path}")
    body = {k: v for k, v in profile.document().items() if k not in ("rows", "schema")}
    options.output.emit(result(options.command, file=str(path), profile=body))
    return 0


def _host(options: Options, quick: bool) -> int:
    from hw.profile import default_path, save_profile
    from trainscape.calibrate import calibrate
    from trainscape.progress import progress
    from trainscape.report.json_document import result
    from trainscape.report.residuals import draw_residuals
    from trainscape.report.tables import plain_table

    with progress(options.output, "calibration", every_phase=True) as shown:
        profile = calibrate(quick=quick, instruments=[shown])
    path = save_profile(profile)
    picture = default_path().with_suffix(".png")
    draw_residuals(picture, profile)
    options.output.show(plain_table(("kernel", *(f"{n} busy" for n in _levels(profile))), _rows(profile)))
    options.output.show(f"profile {path}, residuals {picture}")
    body = {k: v for k, v in profile.to_json().items() if k not in ("rows", "schema")}
    options.output.emit(result(options.command, file=str(path), picture=str(picture), profile=body))
    return 0


def _levels(profile: "Profile") -> list[int]:
    return sorted({n for k in profile.kernels.values() for n in k.busy})


def _rows(profile: "Profile") -> list[list[Any]]:
    """Kernels and the root mean square of their residuals, by number of busy cores."""
    levels = _levels(profile)
    return [
        [name, *(f"{100 * k.busy[n].rms:.1f} %" if n in k.busy else "" for n in levels)]
        for name, k in sorted(profile.kernels.items())
    ]
