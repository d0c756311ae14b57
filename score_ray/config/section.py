"""The base of all sections of a config, and the kinds of keys that several of them have."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Value = TypeVar("Value")
FREE = "free"  # in the metadata of a field that is marked
# Marks a key that says how a run is carried out and not what it computes.
Free = Annotated[Value, FREE]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """The base of all sections: no unknown key, no silent conversion, no change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
