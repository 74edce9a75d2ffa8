"""Triton Python model that scores texts: high where a word is in them. Runs inside Triton only."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Gives one score for each text."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.word = config["parameters"]["word"]["string_value"]

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        texts = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
        scores = [[0.95 if self.word in text.decode() else 0.05] for text in texts.reshape(-1)]
        tensor = pb_utils.Tensor("scores", np.array(scores, dtype=np.float32))
        return pb_utils.InferenceResponse(output_tensors=[tensor])
