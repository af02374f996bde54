"""What a fused loss hands back in the backward pass."""

from __future__ import annotations

import pytest
import torch

from kdbench.error import KdbenchError
from kdbench.fused.gradient import scaled


def test_each_sample_is_scaled_by_its_own_factor() -> None:
    gradient = torch.arange(12.0).reshape(2, 3, 2)
    with torch.no_grad():
        found = scaled(gradient, torch.tensor([2.0, -1.0]))
        assert found is not None and torch.equal(found, torch.stack([2 * gradient[0], -gradient[1]]))
        assert scaled(None, torch.ones(2)) is None


def test_a_pass_that_will_be_differentiated_is_refused() -> None:
    with pytest.raises(KdbenchError, match=r"cannot be differentiated again: set fused=false"):
        scaled(torch.ones(2, 1), torch.ones(2))
