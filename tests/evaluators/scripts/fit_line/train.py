"""Fits a line to points.csv by gradient descent and prints its loss: a stand-in for a training script of others."""

import argparse
import csv
import random
import time

import model

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--steps", type=int, default=200)
arguments = parser.parse_args()
random.seed(arguments.seed)
began = time.monotonic()

with open("points.csv", encoding="utf-8") as file:
    points = [(float(row["x"]), float(row["y"])) for row in csv.DictReader(file)]
train, held_out = points[::2], points[1::2]
line = model.start(random.random(), random.random())
for step in range(arguments.steps):
    for x, y in random.sample(train, len(train)):
        line = model.step(line, x, y)
    if step % 50 == 0:
        print(f"step {step} val_loss: {model.loss(line, held_out):.4f}")

with open("model.txt", "w", encoding="utf-8") as file:
    size = file.write(f"{line[0]:.6f} {line[1]:.6f}\n".ljust(64))
mean = sum(y for _, y in held_out) / len(held_out)
spread = sum((y - mean) ** 2 for _, y in held_out) / len(held_out)
print(f"artifact: {size} bytes")
print(f"r2: {1 - model.loss(line, held_out) / spread:.4f}")
print(f"train_time: {time.monotonic() - began:.3f}")
print(f"val_loss: {model.loss(line, held_out):.4f}")
