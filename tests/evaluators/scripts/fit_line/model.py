"""A line: (intercept, slope)."""

RATE = 0.05


def start(intercept, slope):
    return intercept, slope


def step(line, x, y):
    error = line[0] + line[1] * x - y
    return line[0] - RATE * error, line[1] - RATE * error * x


def loss(line, points):
    return sum((line[0] + line[1] * x - y) ** 2 for x, y in points) / len(points)
