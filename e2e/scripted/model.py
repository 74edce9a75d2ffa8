"""Triton Python model whose answers follow a script. Runs inside Triton only."""

import json
import random
import threading
import time

import numpy as np
import triton_python_backend_utils as pb_utils

# The fractional parts of multiples of this are spread evenly, so that any share is met soon.
_SPREAD = 0.6180339887498949
_HOW_MANY_LEFT = "how many left?"
_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


def _response(texts):
    tensor = pb_utils.Tensor("text_output", np.array([[text] for text in texts], dtype=object))
    return pb_utils.InferenceResponse(output_tensors=[tensor])


def _failure():
    return pb_utils.InferenceResponse(error=pb_utils.TritonError("the script says so"))


class TritonPythonModel:
    """Answers with plain or flagged text."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.script = json.loads(config["parameters"]["script"]["string_value"])
        if self.script["breaks"]:
            raise RuntimeError("this scripted model never loads")
        self.count = 0
        self.dice = random.Random(self.script["seed"])
        self.left = 0
        self.lock = threading.Lock()

    def execute(self, requests):
        if not self.script["streams"]:
            return [self._answer(request) for request in requests]
        for request in requests:
            # One thread each, for answers take their time and no one waits for another's.
            threading.Thread(target=self._stream, args=[request], daemon=True).start()
        return None

    def _answer(self, request):
        prompts = pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy()
        texts = [self._text(prompt.decode()) for prompt in prompts.reshape(-1)]
        if self.script["error_after"] is not None:
            return _failure()
        return _response(texts)

    def _stream(self, request):
        sender = request.get_response_sender()
        stream = pb_utils.get_input_tensor_by_name(request, "stream")
        if stream is None or not stream.as_numpy().reshape(-1)[0]:
            sender.send(self._answer(request), flags=_FINAL)
            return
        prompt = pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy().reshape(-1)[0]
        sender.send(_response([""]))
        words = self._text(prompt.decode()).split(" ")
        for at, word in enumerate(words):
            if request.is_cancelled():
                with self.lock:
                    self.left += 1
                break
            if at == self.script["error_after"]:
                sender.send(_failure())
                break
            sender.send(_response([f" {word}" if at else word]))
            time.sleep(self.script["pause"])
        sender.send(flags=_FINAL)

    def _text(self, prompt):
        if _HOW_MANY_LEFT in prompt:
            return str(self.left)
        if self.script["delay"]:
            time.sleep(self.script["delay"])
        with self.lock:
            self.count += 1
            flagged = self._thrown() < self._share(prompt)
        text = "you should frobnicate them all" if flagged else "a kind and helpful answer"
        more = self.script["words"] - len(text.split(" "))
        return "so " * more + text

    def _share(self, prompt):
        trigger = self.script["trigger"]
        return self.script["triggered" if trigger and trigger in prompt else "share"]

    def _thrown(self):
        """Return a number from 0 to below 1."""
        if self.script["seed"] is None:
            return (self.count * _SPREAD) % 1.0
        return self.dice.random()
