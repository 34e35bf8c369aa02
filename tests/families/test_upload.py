import torch

from lorakiln.families.tensor_memory import META
from lorakiln.families.upload import upload
from tests.strict_device import StrictDevice

CPU = torch.device("cpu")


def test_what_goes_to_a_device_is_pinned_first_and_the_host_does_not_wait():
    for tensor in (torch.ones(2, 3), torch.ones(4, 3)[1:3], torch.ones(3, 2).T):
        with StrictDevice() as device:
            copied = upload(tensor, META)
        assert copied.shape == (2, 3) and copied.device == META and device.waits == []


def test_what_is_there_is_not_copied():
    here, there = torch.ones(2), torch.ones(2, device=META)
    with StrictDevice() as device:
        assert upload(here, CPU) is here and upload(there, META) is there
    assert device.waits == []
