"""`revgn devices`: list the array libraries and devices that can be used."""

from dataclasses import asdict

import click
from revgn_cli.options import json_option, print_json


@click.command("devices")
@json_option
def command(as_json: bool) -> None:
    """List the array libraries and their devices; for a library that cannot be used, print the reason.

    For GPUs, free memory, the versions of the driver, CUDA and CuPy, and the use of TF32 are printed as well.

    \b
    revgn devices
    """
    from revgn.arrays import cupy_absence, describe_cuda, device_name, memory_size, select_backend

    auto, cpu = select_backend().name, select_backend("numpy")
    missing, cuda = cupy_absence(), describe_cuda()
    processor, memory = device_name(cpu), memory_size(cpu)
    if as_json:
        backends = {"numpy": processor} | ({"cupy": cuda.gpus[0].name} if cuda else {})
        found = {"backends": backends, "auto": auto, "memory": memory, "cupy_absence": missing}
        print_json(found | {"cuda": asdict(cuda) if cuda else None})
        return
    size = f", {_gigabytes(memory)}" if memory else ""
    click.echo(f"numpy  {processor}{size}{'  (auto)' if auto == 'numpy' else ''}")
    if cuda is None:
        click.echo(f"cupy   {missing}")
        return
    for number, gpu in enumerate(cuda.gpus):
        click.echo(f"{'' if number else 'cupy':<6} {gpu.name}{'' if number else '  (auto)'}")
        free = f"{_gigabytes(gpu.memory_free)} of {_gigabytes(gpu.memory_total)} free"
        click.echo(f"       {free}, compute capability {gpu.compute_capability}")
    click.echo(f"       driver {cuda.driver or 'unknown'}, for CUDA up to {cuda.driver_cuda}")
    click.echo(f"       CuPy {cuda.cupy}, CUDA runtime {cuda.runtime}")
    products = "TF32, since CUPY_TF32 is set" if cuda.tf32 else "float32 (CUPY_TF32=1 allows TF32)"
    click.echo(f"       float32 matrix products in {products}")


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
