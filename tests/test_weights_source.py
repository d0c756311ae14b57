import torch

from score_ray.weights.source import named_weights, pack, unpack


def test_unpack_gives_back_every_tensor_of_any_type_and_shape():
    tensors = {
        "a": torch.randn(3, 5),
        "b": torch.randn(7).to(torch.bfloat16),
        "c": torch.tensor(3.0),
    }
    entries, buffer = pack(tensors.items())
    back = dict(unpack(entries, buffer))
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[k], v) and back[k].dtype == v.dtype for k, v in tensors.items())


def test_pack_copies_so_that_a_later_update_does_not_reach_the_buffer():
    weight = torch.zeros(4)
    entries, buffer = pack([("w", weight)])
    weight += 1
    assert dict(unpack(entries, buffer))["w"].tolist() == [0, 0, 0, 0]


def test_tied_weights_come_once():
    model = torch.nn.Sequential(
        torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False)
    )
    model[1].weight = model[0].weight
    assert [name for name, _ in named_weights(model)] == ["0.weight"]
