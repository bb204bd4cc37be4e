"""Products by the library that is quicker on this processor: the same numbers, and the plain way else."""

from collections import Counter

import pytest
import torch
from test_models_low_rank import adapted, results
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from models import products
from models.adapter import disabled
from models.products import ONEDNN, by_onednn, product
from models.quick_layers import AnyRows, FewRows, quick_layers

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs a torch with oneDNN")


@pytest.fixture
def onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor that MKL is not written for."""
    monkeypatch.setattr(products, "_is_quicker", lambda: True)


class Counted(TorchDispatchMode):
    """How often each operator ran."""

    def __init__(self) -> None:
        super().__init__()
        self.times: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.times[func.name().partition(".")[0]] += 1
        return func(*args, **(kwargs or {}))

    @property
    def by_onednn(self) -> int:
        return self.times["mkldnn::_linear_pointwise"]


@torch.no_grad()
@pytest.mark.parametrize("rows", [0, 1, 3, 17, 300])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_product_is_that_of_float64(onednn, rows, turned, bias):
    torch.manual_seed(0)
    weight = torch.randn(24, 40).t() if turned else torch.randn(40, 24)
    x, c = torch.randn(24, rows).t() if turned else torch.randn(rows, 24), torch.randn(40) if bias else None
    with Counted() as counted:
        found = product(x, weight, c)
    exact = x.double() @ weight.double().t() + (0.0 if c is None else c.double())
    torch.testing.assert_close(found, exact.float(), rtol=1e-5, atol=1e-5)
    assert counted.by_onednn == (rows > 0)


@torch.no_grad()
def test_other_numbers_go_the_plain_way(onednn):
    with Counted() as counted:
        for dtype in (torch.float64, torch.bfloat16):
            x, weight = torch.ones(3, 4, dtype=dtype), torch.ones(5, 4, dtype=dtype)
            assert product(x, weight).dtype == dtype
        with FakeTensorMode():
            assert product(torch.ones(3, 4), torch.ones(5, 4)).shape == (3, 5)
        with ONEDNN.off():
            product(torch.ones(3, 4), torch.ones(5, 4))
    assert counted.by_onednn == 0 and counted.times["aten::mm"] >= 3


def test_adapters_and_reference_have_the_same_numbers(onednn):
    model = adapted().train()
    with Counted() as counted:
        found = results(model)
    with ONEDNN.off():
        expected = results(model)
    assert counted.by_onednn > 3 * 2 * 7  # forward, the adapter's half of it, and back, in each layer
    for key, value in expected.items():
        assert (found[key] - value).norm() <= 1e-4 * value.norm(), key

    def reference() -> torch.Tensor:
        with torch.no_grad(), disabled(model):
            return model(torch.arange(8)[None]).logits

    with Counted() as counted:
        quick = reference()
    assert counted.by_onednn == 2 * 7
    with ONEDNN.off():
        torch.testing.assert_close(quick, reference(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_one_layout_serves_any_number_of_rows(bias):
    torch.manual_seed(0)
    layer = nn.Linear(24, 40, bias=bias).requires_grad_(False)
    quick = AnyRows(layer)
    for shape in ((16,), (16, 1), (0,), (13, 1), (4, 30), (1,), (300,)):
        x = torch.randn(*shape, 24)
        torch.testing.assert_close(quick(x), layer(x), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(quick(x.expand(2, *shape, 24)), layer(x.expand(2, *shape, 24)))


@pytest.mark.parametrize(
    "vendor, kind", [("GenuineIntel", FewRows), ("AuthenticAMD", AnyRows), ("", AnyRows)]
)
def test_the_processor_decides(monkeypatch, vendor, kind):
    monkeypatch.setattr(products, "vendor", lambda: vendor)
    products._is_quicker.cache_clear()
    try:
        layer = nn.Linear(4, 4)
        with quick_layers(nn.Sequential(layer)):
            assert type(layer.forward) is kind
        assert by_onednn() == (kind is AnyRows)
    finally:
        products._is_quicker.cache_clear()


def test_what_is_only_counted_does_not_decide():
    """A plan may be the first to multiply (train.py plan): its tensors have no numbers to try by."""
    products._is_quicker.cache_clear()
    with FakeTensorMode():
        product(torch.ones(3, 4), torch.ones(5, 4))
    assert products._is_quicker.cache_info().misses == 0


def test_the_vendor_is_read_where_linux_writes_it(monkeypatch, tmp_path):
    named = tmp_path / "cpuinfo"
    named.write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t: 17\n")
    monkeypatch.setattr(products, "Path", lambda _: named)
    assert products.vendor() == "AuthenticAMD"
    named.write_text("processor : 0\nFeatures : fp\n")  # of an ARM
    assert products.vendor() == ""
    named.unlink()
    assert products.vendor() == ""
