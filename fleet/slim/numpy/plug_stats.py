from statistics import median


def run(frame):
    return median(frame["price"])
