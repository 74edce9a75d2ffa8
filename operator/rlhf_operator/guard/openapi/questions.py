"""What may be sent to Triton's part of the API: loose, as the model's own inputs differ.

What is sent to the other part is described by the types that read it.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from rlhf_operator.guard.v2 import TEXT_INPUT

Shape = Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=8)]


class GenerateQuestion(BaseModel):
    """A prompt, and the model's own parameters beside it."""

    model_config = ConfigDict(extra="allow")

    text_input: str
    """The prompt. It may be left out where no stage looks at prompts."""


class InputTensor(BaseModel):
    """One tensor: its data in JSON, or behind the JSON in as many bytes as it says."""

    model_config = ConfigDict(extra="allow")

    name: str
    datatype: str
    shape: Shape
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class InferQuestion(BaseModel):
    """Tensors; `text_input` must be among them wherever a stage looks at prompts."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "inputs": [
                        {
                            "name": TEXT_INPUT,
                            "datatype": "BYTES",
                            "shape": [1, 1],
                            "data": ["Hello"],
                        }
                    ]
                }
            ]
        },
    )

    id: str | None = None
    inputs: Annotated[list[InputTensor], Field(min_length=1)]
