import torch

from score_ray.weights.packing import named_weights, pack, parts, unpack


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


def test_parts_are_packed_as_they_are_taken_and_a_large_tensor_is_a_part_by_itself():
    sizes = {"a": 10, "b": 20, "huge": 1000, "c": 30, "d": 1}  # floats
    pulled = []

    def weights():
        for name, size in sizes.items():
            pulled.append(name)
            yield name, torch.full((size,), float(size))

    taken = parts(weights(), num_bytes=4 * 31)
    names = []
    for entries, buffer in taken:
        names.append([entry.name for entry in entries])
        # At most the one tensor that opens the next part has been read ahead.
        assert len(pulled) <= sum(map(len, names)) + 1
        for name, tensor in unpack(entries, buffer):
            assert tensor.tolist() == [float(sizes[name])] * sizes[name]
    assert names == [["a", "b"], ["huge"], ["c", "d"]]


def test_a_part_keeps_its_values_when_the_gathered_tensor_is_taken_back():
    weight = torch.ones(4)

    def weights():
        yield "w", weight
        weight.zero_()

    ((entries, buffer),) = parts(weights(), 2**20)
    assert dict(unpack(entries, buffer))["w"].tolist() == [1, 1, 1, 1]


def test_tied_weights_come_once():
    model = torch.nn.Sequential(
        torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False)
    )
    model[1].weight = model[0].weight
    assert [name for name, _ in named_weights(model)] == ["0.weight"]
