"""What a size of model needs in configs/speed.yaml; apart, so that it imports nothing heavy."""

# The optimizer states of all 7B weights would fill three GPUs, so only adapters are trained.
# They are sent merged, which moves as many bytes as training all weights would.
SHAPE_OVERRIDES = {
    "7B": (
        "learner.lora.rank=64", "learner.lora.broadcast=merged",
        "learner.tokens_per_micro_batch=4096",
    )
}  # fmt: skip
