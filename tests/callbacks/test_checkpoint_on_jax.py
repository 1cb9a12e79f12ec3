"""Saves in the background on JAX, whose steps take the memory of the values before: in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CODE = """
import sys, threading
from pathlib import Path
import keras, numpy as np
import tiedio
from tiedio.callbacks import ModelCheckpoint, checkpoint
assert keras.backend.backend() == "jax"
folder, write, opened = Path(sys.argv[1]), checkpoint.write_tensors, threading.Event()

def late(*given, **options):
    opened.clear()
    assert opened.wait(60)
    write(*given, **options)

checkpoint.write_tensors = late

class Before(keras.callbacks.Callback):
    count = 0
    def on_train_batch_end(self, batch, logs=None):
        self.count += 1
        opened.set()
        if self.count % 2 == 0:
            tiedio.save(self.model, folder / f"front-{self.count}.safetensors")
    def on_epoch_end(self, epoch, logs=None):
        opened.set()

shared = keras.layers.Dense(3)
parts = [shared, keras.layers.BatchNormalization(), keras.layers.Dropout(0.5), shared]
model = keras.Sequential([keras.Input((3,)), *parts])
model.compile(keras.optimizers.Adam(use_ema=True), "mse", jit_compile=True)
x = np.linspace(-1, 1, 24).reshape(8, 3).astype("float32")
back = ModelCheckpoint(folder / "back-{epoch}-{batch}.safetensors", save_freq=2, background=True)
model.fit(x, -x, batch_size=2, epochs=2, verbose=0, shuffle=False, callbacks=[Before(), back])
assert back._taker.proofs == 1, back._taker.proofs
for count, name in ((2, "1-2"), (4, "1-4"), (6, "2-2"), (8, "2-4")):
    front = folder / f"front-{count}.safetensors"
    assert front.read_bytes() == (folder / f"back-{name}.safetensors").read_bytes(), name
assert len({path.read_bytes() for path in folder.glob("back-*")}) == 4
loaded = tiedio.load(folder / "back-2-4.safetensors")
assert loaded._layers[1] is loaded._layers[-1]
print("alike")
"""


@pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX is not installed: it is no dependency of the tests"
)
def test_on_jax_the_file_is_the_one_of_the_foreground_though_its_buffers_are_donated(tmp_path: Path) -> None:
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CODE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)
    assert done.stdout.splitlines()[-1:] == ["alike"], done.stderr[-3000:]
