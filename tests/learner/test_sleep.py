import torch

from score_ray.learner.sleep import move_back, move_to_host, tensors_in

CPU = torch.device("cpu")


def test_moved_tensors_take_no_memory_and_come_back_with_their_views():
    flat = torch.arange(6.0)
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.data = flat[2:4]
    moved = move_to_host([flat, parameter], CPU)
    assert flat.untyped_storage().nbytes() == 0
    assert parameter.untyped_storage().nbytes() == 0
    move_back(moved)
    assert parameter.tolist() == [2.0, 3.0]
    flat[2] = 9.0
    assert parameter.tolist() == [9.0, 3.0]


def test_memory_of_another_device_or_not_of_torch_stays(tmp_path):
    torch.save({"a": torch.ones(4)}, tmp_path / "file")
    mapped = torch.load(tmp_path / "file", mmap=True)["a"]
    assert move_to_host([mapped, torch.ones(2, device="meta")], CPU) == []
    assert mapped.tolist() == [1.0] * 4


def test_weights_gradients_and_the_optimizers_state_are_found():
    layer = torch.nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).backward()
    optimizer.step()
    state = optimizer.state[layer.weight]
    found = {id(t) for t in tensors_in([{"a": (layer, optimizer)}, "text", None])}
    wanted = [layer.weight, layer.weight.grad, *state.values()]
    assert {id(t) for t in wanted} <= found


def test_tensors_that_hold_each_other_are_found_once():
    one, other = torch.ones(1), torch.ones(1)
    one.other, other.other = other, one
    assert {id(t) for t in tensors_in([one, [one]])} == {id(one), id(other)}
    assert len(list(tensors_in([one, [one]]))) == 2
