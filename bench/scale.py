"""What a registry of replicas over one bucket would serve: the simulation behind docs/scale.md.

    python bench/scale.py                       the table for 1, 10 and 100 replicas
    python bench/scale.py --pulls 5e6 --images 5000 --layers 30

Nodes pull images whose popularity falls as Zipf's law says; a node keeps what it has, and asks for what
it has not seen. Each pull goes to a replica at random, which believes a tag for `--tag-seconds` and that
a layer is there for half a minute. What one request costs is as measured by bench/registry.py on one
processor; prices are list prices of object stores and are there to be replaced.
"""

from __future__ import annotations

import argparse
import random
from collections import OrderedDict
from dataclasses import dataclass

MANIFESTS = 12_000.0
"""Warm manifests that one worker answers in a second."""
STREAM_RATE = 0.25e9
"""Bytes a second that one worker hands on from an object store."""
LAYER_SECONDS = 30.0
"""For which a replica believes that a layer is there."""
GET_PRICE = 0.4e-6
"""Of a request to the store, in dollars."""


@dataclass
class Cost:
    """What a simulated time took."""

    pulls: int = 0
    manifests: int = 0
    blobs: int = 0
    bytes: float = 0.0
    gets: int = 0


@dataclass(frozen=True)
class World:
    """Who pulls what."""

    images: int
    layers: int
    layer_size: float
    shared: float
    nodes: int
    node_layers: int


def popularity(count: int) -> list[float]:
    total, sums = 0.0, []
    for rank in range(1, count + 1):
        total += 1 / rank
        sums.append(total)
    return sums


def simulate(world: World, pulls: int, seconds: float, replicas: int, tag_seconds: float) -> Cost:
    """Count what `pulls` pulls, spread over `seconds`, ask of the replicas and of the store."""
    chance = random.Random(1)
    weights = popularity(world.images)
    common = max(1, int(world.layers * world.shared))
    nodes: list[OrderedDict[tuple[int, int], None]] = [OrderedDict() for _ in range(world.nodes)]
    known: dict[tuple[int, int], float] = {}
    layers: dict[tuple[int, int, int], float] = {}
    cost = Cost()
    for number in range(pulls):
        now = seconds * number / pulls
        image = chance.choices(range(world.images), cum_weights=weights)[0]
        replica = chance.randrange(replicas)
        node = nodes[chance.randrange(world.nodes)]
        cost.pulls += 1
        # the tag, the index it stands for, and the manifest of the node's platform
        cost.manifests += 3
        if now - known.get((replica, image), -1e9) > tag_seconds:
            known[replica, image] = now
            cost.gets += 3
        # common layers are those of the packages below, of which there are as many kinds as images / 20
        base = image % max(1, world.images // 20)
        for layer in range(world.layers):
            key = (-1 - base, layer) if layer < common else (image, layer)
            if key in node:
                node.move_to_end(key)
                continue
            node[key] = None
            if len(node) > world.node_layers:
                node.popitem(last=False)
            cost.blobs += 1
            cost.bytes += world.layer_size
            cost.gets += 1
            seen = (replica, *key)
            if now - layers.get(seen, -1e9) > LAYER_SECONDS:
                # whether the repository has it, and how large it is
                layers[seen] = now
                cost.gets += 2
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--pulls", type=float, default=1e6, help="pulls a day, for one replica (default: 1e6)"
    )
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--layers", type=int, default=20, help="layers of an image")
    parser.add_argument("--layer-size", type=float, default=0.6e6, help="compressed bytes of a layer")
    parser.add_argument("--shared", type=float, default=0.7, help="part of the layers that images share")
    parser.add_argument("--nodes", type=int, default=1000, help="nodes, for one replica")
    parser.add_argument("--node-layers", type=int, default=2000, help="layers that a node keeps")
    parser.add_argument("--tag-seconds", type=float, default=1.0)
    parser.add_argument("--sample", type=int, default=60_000, help="pulls that are simulated")
    parser.add_argument("--workers", type=int, default=4, help="workers of a replica")
    options = parser.parse_args()
    print(
        "| replicas | pulls a day | bytes a day | bytes a second | busiest worker | store requests a second |"
        " their price a day | with redirects, by the replicas |\n|---:|---:|---:|---:|---:|---:|---:|---:|"
    )
    for replicas in (1, 10, 100):
        daily = options.pulls * replicas
        world = World(
            options.images,
            options.layers,
            options.layer_size,
            options.shared,
            min(options.nodes * replicas, options.sample // 20),
            options.node_layers,
        )
        seconds = 86400 * options.sample / daily
        cost = simulate(world, options.sample, seconds, replicas, options.tag_seconds)
        scale = daily / cost.pulls
        rate = cost.bytes * scale / 86400
        workers = replicas * options.workers
        busy = (cost.manifests * scale / 86400 / MANIFESTS + rate / STREAM_RATE) / workers
        requests = cost.gets * scale / 86400
        print(
            f"| {replicas} | {daily:,.0f} | {cost.bytes * scale / 1e12:.1f} TB | {rate / 1e6:,.0f} MB/s "
            f"| {busy:.1%} | {requests:,.0f} | ${cost.gets * scale * GET_PRICE:,.0f} "
            f"| {cost.manifests * scale / 86400 / MANIFESTS / workers:.1%} busy, no blob bytes |"
        )


if __name__ == "__main__":
    main()
