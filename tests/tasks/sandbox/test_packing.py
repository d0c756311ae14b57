"""JSON that no honest process sends, and values that hold themselves."""

import dataclasses
import enum

import pytest

from score_ray.tasks.sandbox.packing import Packer, SharedClasses, Unpacker


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0

    def total(self):
        return self.x + self.y

    @property
    def double(self):
        return 2 * self.x


class Colour(enum.Enum):
    RED = 1


SHARED = SharedClasses(["Point", "Colour"], {"Point": Point, "Colour": Colour, "open": open})


def refuse(*_: object):
    raise ValueError("not plain")


def made(data: object, *table: list) -> object:
    return Unpacker(SHARED, refuse, list(table)).unpack(data)


def there_and_back(value: object) -> object:
    data, table = Packer(SHARED, refuse).message(value)
    return made(data, *table)


def test_one_object_stays_one_object():
    inner: list = [1]
    first, second, (third,) = there_and_back([inner, inner, (inner,)])  # pyright: ignore
    assert first is second is third


def test_a_value_may_hold_itself_or_be_deep():
    loop: dict = {}
    loop["self"] = [loop]
    found = there_and_back(loop)
    assert found["self"][0] is found  # pyright: ignore
    deep: list = []
    for _ in range(5_000):
        deep = [deep]
    assert type(there_and_back(deep)) is list


def test_objects_of_shared_classes_keep_class_and_attributes():
    point = there_and_back(Point(1, 2))
    assert point == Point(1, 2)
    assert there_and_back({Colour.RED: [Point, int]}) == {Colour.RED: [Point, int]}


@pytest.mark.parametrize(
    "data",
    [
        [],
        {},
        {"at": 5},
        {"at": "x"},
        {"known": 0},
        {"builtins.eval": "1"},
        {"os.system": "true"},
        {"type": "builtins.eval"},
        {"type": "builtins.print"},
        {"type": "os.system"},
        {"type": "subprocess.Popen"},
        {"class": "open"},
        {"class": "Other"},
        {"member": ["Point", "x"]},
        {"member": ["Colour", "__class__"]},
        {"member": ["Colour", "BLUE"]},
        {"extended": ["Point", 3, []]},
        {"namedtuple": ["A; import os", ["x"], [1]]},
        {"namedtuple": ["A", ["x=print()"], [1]]},
        {"namedtuple": ["A", ["__class__"], [1]]},
        {"builtins.int": [1, 2]},
        {"builtins.int": "9", "builtins.str": "9"},
        {"global": ["os", "system"]},
        {"program": 1},
    ],
)
def test_json_that_stands_for_no_plain_value_is_refused(data):
    with pytest.raises((ValueError, TypeError, LookupError, AttributeError)):
        made(data)


@pytest.mark.parametrize(
    "entry",
    [
        ["instance", ["total", 3], ["Point", []]],
        ["instance", ["__class__", {"type": "builtins.int"}], ["Point", []]],
        ["instance", ["__dict__", {"at": 0}], ["Point", []]],
        ["instance", ["double", 3], ["Point", []]],
        ["instance", [3, 3], ["Point", []]],
        ["instance", ["x"], ["Point", []]],
        ["instance", [], ["Other", []]],
        ["builtins.dict", [1], None],
        ["builtins.dict", [{"at": 0}, 1], None],
        ["builtins.tuple", [1], None],
        ["os.system", ["true"], None],
        ["numpy.ndarray", [1], ["O", [1]]],
        ["numpy.ndarray", [1, 2], ["<i8", [1]]],
        ["collections.deque", [1], "many"],
    ],
)
def test_a_table_with_an_impossible_entry_is_refused(entry):
    with pytest.raises((ValueError, TypeError, LookupError, AttributeError)):
        made({"at": 0}, entry)
