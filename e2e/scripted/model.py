"""Triton Python model whose answers follow a script. Runs inside Triton only."""

import json
import random
import time

import numpy as np
import triton_python_backend_utils as pb_utils

# The fractional parts of multiples of this are spread evenly, so that any share is met soon.
_SPREAD = 0.6180339887498949


class TritonPythonModel:
    """Answers with plain or flagged text."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.script = json.loads(config["parameters"]["script"]["string_value"])
        if self.script["breaks"]:
            raise RuntimeError("this scripted model never loads")
        self.count = 0
        self.dice = random.Random(self.script["seed"])

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        prompts = pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy()
        texts = [self._text(prompt.decode()) for prompt in prompts.reshape(-1)]
        shape = prompts.shape
        tensor = pb_utils.Tensor("text_output", np.array(texts, dtype=object).reshape(shape))
        return pb_utils.InferenceResponse(output_tensors=[tensor])

    def _text(self, prompt):
        self.count += 1
        if self.script["delay"]:
            time.sleep(self.script["delay"])
        if self._thrown() < self._share(prompt):
            return "you should frobnicate them all"
        return "a kind and helpful answer"

    def _share(self, prompt):
        trigger = self.script["trigger"]
        return self.script["triggered" if trigger and trigger in prompt else "share"]

    def _thrown(self):
        """Return a number from 0 to below 1."""
        if self.script["seed"] is None:
            return (self.count * _SPREAD) % 1.0
        return self.dice.random()
