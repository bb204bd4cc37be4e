"""Which device and format, and which GPUs a build of torch can serve."""

import pytest
import torch

from models.errors import ModelError
from models.precision import DeviceConfig, Precision, check_kernels, resolve_precision

# torch.cuda.get_arch_list() of the default Linux wheels.
WHEEL_210 = ["sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
WHEEL_213 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]


def fake_gpu(monkeypatch, capability=(8, 0), archs=WHEEL_213, bf16=True) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *args: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: archs)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation
    )


def fake_cpu(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_cuda_where_there_is_none(monkeypatch):
    """Asked for and absent is an error that names the flag; "auto" takes the CPU and float32."""
    fake_cpu(monkeypatch)
    with pytest.raises(ModelError, match="--device"):
        resolve_precision(DeviceConfig(device="cuda"))
    assert resolve_precision(DeviceConfig()) == Precision(torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(
    ("capability", "archs"),
    [
        ((7, 0), WHEEL_210),  # V100 on the last wheel with Volta kernels
        ((7, 5), WHEEL_213),
        ((8, 9), WHEEL_213),  # sm_86 runs on 8.9: binary compatible within a major version
        ((9, 0), ["sm_90a"]),
        ((12, 0), ["sm_90", "compute_90"]),  # PTX of an older one is compiled at load
        ((13, 0), WHEEL_213),
        ((10, 3), ["sm_100f"]),
    ],
)
def test_gpus_that_this_build_serves(capability, archs):
    """A kernel of the same major version and no newer minor, or any PTX that is not newer."""
    check_kernels(capability, archs)


@pytest.mark.parametrize(
    ("capability", "archs"),
    [
        ((7, 0), WHEEL_213),  # V100 on a current wheel: imports, and fails at its first kernel
        ((7, 0), ["sm_75", "compute_80"]),
        ((6, 1), WHEEL_210),
        ((8, 0), ["sm_86"]),  # newer minor
        ((12, 0), ["sm_90", "sm_100"]),  # other major, no PTX
        ((7, 0), []),
    ],
)
def test_gpus_that_it_does_not(capability, archs):
    """Named with its compute capability, and with the set to install."""
    with pytest.raises(ModelError, match=rf"{capability[0]}\.{capability[1]}.*constraints-v100"):
        check_kernels(capability, archs)


def test_formats_on_gpus(monkeypatch):
    """auto: bfloat16 in hardware, float16 on a V100, which only emulates bfloat16 and says so if asked."""
    fake_gpu(monkeypatch)
    assert resolve_precision(DeviceConfig()).dtype == torch.bfloat16
    fake_gpu(monkeypatch, (7, 0), WHEEL_210, bf16=False)
    precision = resolve_precision(DeviceConfig())
    assert (precision.device.type, precision.dtype) == ("cuda", torch.float16)
    assert resolve_precision(DeviceConfig(dtype="float32")).exact
    with pytest.raises(ModelError, match="float16"):
        resolve_precision(DeviceConfig(dtype="bfloat16"))
    fake_gpu(monkeypatch, (7, 0), WHEEL_213, bf16=False)
    with pytest.raises(ModelError, match="constraints-v100"):
        resolve_precision(DeviceConfig())
    assert resolve_precision(DeviceConfig(device="cpu")).device.type == "cpu"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_scaler_and_autocast_go_with_the_format(dtype):
    """Check 24: loss scaling in float16 alone; exactness in float32 alone; matrix products in the format."""
    precision = resolve_precision(DeviceConfig(device="cpu", dtype=dtype))
    assert precision.grad_scaler().is_enabled() == (dtype == "float16")
    assert precision.exact == (dtype == "float32")
    with precision.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == precision.dtype


def test_threads():
    """0 leaves torch's choice; another number is set."""
    before = torch.get_num_threads()
    try:
        resolve_precision(DeviceConfig(device="cpu"))
        assert torch.get_num_threads() == before
        resolve_precision(DeviceConfig(device="cpu", threads=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
