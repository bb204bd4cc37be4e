"""Device, number format and loss scaling, and what this GPU can run."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from models.errors import ModelError
from models.ranges import NotNegativeInt, check_ranges
from models.shared_heads import has_kernel, repeat_shared_heads

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# The loss scale halves with every overflow: from 65536 it is below 1 after 17, and what overflows at any
# scale is no matter of the scale.
MAX_SKIPPED_IN_A_ROW = 20


@dataclass(frozen=True)
class DeviceConfig:
    """Where the networks run, and in which number format."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: the GPU where torch can use one, else the CPU."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Format of the frozen weights and the activations; what is trained is always float32. auto: float32
    on the CPU, bfloat16 on a GPU that has it in hardware, else float16 with loss scaling (V100)."""
    decode: Literal["auto", "eager", "graph"] = "auto"
    """How tokens are sampled. graph: a step of the model is recorded as a CUDA graph and played again, which
    spares Python's time for every kernel. eager: kernel by kernel. auto: graph on a GPU, for models that it
    fits, else eager. Results agree up to rounding."""
    threads: NotNegativeInt = 0
    """CPU threads of torch; 0 leaves torch's choice. The same seed gives the same run only at the same
    number of threads."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Precision:
    """A device and a format that work together here."""

    device: torch.device
    dtype: torch.dtype
    decode: Literal["auto", "eager", "graph"] = "auto"
    """As `DeviceConfig` says; "graph" with a GPU only."""

    @property
    def exact(self) -> bool:
        """Whether two forward passes agree closely enough for a rollout's own log-probabilities to serve."""
        return self.dtype == torch.float32

    @property
    def records(self) -> bool:
        """Whether steps of decoding are recorded, of networks that this fits."""
        return self.device.type == "cuda" and self.decode != "eager"

    def autocast(self) -> AbstractContextManager:
        """The context of every forward pass: activations in `dtype`."""
        if self.exact:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def grad_scaler(self) -> torch.amp.GradScaler:
        """One loss scaler for all that is trained; it does nothing unless the format is float16."""
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        # Ready from the start: of several processes one may have no loss in the first step.
        scaler.scale(torch.zeros((), device=self.device))
        return scaler


def resolve_precision(config: DeviceConfig) -> Precision:
    """The device and format to use.

    Raises:
        ModelError: CUDA was asked for and is absent, also for --decode graph; the installed torch has no
            kernels for this GPU, or the GPU only emulates bfloat16.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ModelError("--device cuda: torch sees no CUDA device here; use --device cpu or auto")
    on_gpu = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    if on_gpu:
        check_kernels(torch.cuda.get_device_capability(), torch.cuda.get_arch_list())
        # Long sums of 16-bit products stay in float32 until they are whole; by default parts may be rounded.
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    dtype = DTYPES[config.dtype] if config.dtype != "auto" else _native_dtype(on_gpu)
    if on_gpu and dtype == torch.bfloat16 and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ModelError("this GPU only emulates bfloat16, slower than float32; use --dtype float16")
    if on_gpu and not has_kernel(dtype, torch.cuda.get_device_capability()):
        repeat_shared_heads()
    if config.decode == "graph" and not on_gpu:
        raise ModelError(
            "--decode graph: CUDA graphs need a GPU, and this runs on the CPU; use auto or eager"
        )
    return Precision(torch.device("cuda" if on_gpu else "cpu"), dtype, config.decode)


def too_many_skipped(in_a_row: int) -> str:
    """What to say where too many optimizer steps in a row were skipped by the loss scaler; else empty."""
    if in_a_row < MAX_SKIPPED_IN_A_ROW:
        return ""
    return (
        f"{in_a_row} optimizer steps in a row overflowed, whatever the loss scale: use --dtype bfloat16 "
        "or float32, or lower the learning rate"
    )


def check_kernels(capability: tuple[int, int], arch_list: list[str]) -> None:
    """Raise ModelError unless a torch build for `arch_list` has kernels for this compute capability.

    A wheel without them installs and imports, and fails at the first kernel.
    """
    major, minor = capability
    if _has_arch(arch_list, "sm_", lambda a: a // 10 == major and a % 10 <= minor):
        return
    if _has_arch(arch_list, "compute_", lambda a: a <= 10 * major + minor):
        return
    raise ModelError(
        f"torch {torch.__version__} has no kernels for this GPU (compute capability {major}.{minor}); "
        "install the set of constraints-v100.txt"
    )


def _has_arch(arch_list: list[str], prefix: str, fits: Callable[[int], bool]) -> bool:
    names = (arch[len(prefix) :].rstrip("af") for arch in arch_list if arch.startswith(prefix))
    return any(fits(int(name)) for name in names)


def _native_dtype(on_gpu: bool) -> torch.dtype:
    if not on_gpu:
        return torch.float32
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float16
