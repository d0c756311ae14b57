"""What the report of a scaling bench concludes from curves of simulated iterations."""

from score_ray.bench.scaling_model import SimulatedIteration
from score_ray.bench.scaling_report import simulated_rows, stops, verdict


def simulated(gpus, rate):
    phases = {"rollout": 1.0, "reference": 0.5, "update": 0.5, "broadcast": 0.5, "driver": 0.5}
    return SimulatedIteration(gpus - 1, 1, round(rate * 3), phases, {"driver": 0.5})


def test_scaling_stops_where_more_gpus_give_less_than_a_quarter_more():
    curve = [simulated(2, 100), simulated(4, 180), simulated(8, 220), simulated(16, 221)]
    assert stops(curve) == (curve[1], curve[2])
    assert stops(curve[:2]) is None


def taking(gpus, seconds, undivided):
    return SimulatedIteration(gpus - 1, 1, 100, {"rollout": seconds}, undivided)


def test_the_verdict_names_where_it_stops_and_why():
    curve = [taking(4, 8.0, {}), taking(8, 4.0, {}), taking(16, 3.5, {"longest episode": 3.0})]
    assert verdict(curve) == (
        "16 GPUs give 1.14 times the episodes per second of 8; limit: longest episode"
    )
    assert verdict(curve[:2]) == "scales up to 8 GPUs"


def test_rows_compare_the_rate_per_gpu_with_the_smallest_number_of_gpus():
    curve = [taking(2, 8.0, {}), taking(8, 4.0, {"driver": 3.0}), taking(16, 1.0, {})]
    assert simulated_rows(curve, gpus=(8,)) == [
        ("8", "7 + 1", "100", "4.000", "25", "50%", "75%", "driver")
    ]
