#!/usr/bin/env python3
"""Sums over what was eaten, one function a command."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent


def read():
    return pd.read_csv(HERE / "dishes.csv", parse_dates=["day"])


def summary():
    print(read().groupby("dish")["price"].agg(["count", "mean"]).round(2))


def weekly():
    print(read().set_index("day")["price"].resample("W").sum().to_string())


def zones():
    times = pd.date_range("2024-03-30", periods=3, freq="D", tz="Europe/Paris")
    print(times.tz_convert("America/New_York").strftime("%Y-%m-%d %H:%M %Z").tolist())


def matrix():
    values = np.array([[2.0, 1.0], [1.0, 3.0]])
    print(np.linalg.eigvalsh(values).round(4).tolist(), np.linalg.solve(values, [1, 2]).round(2).tolist())
    print(np.linalg.svd(values, compute_uv=False).round(4).tolist(), round(float(np.linalg.det(values)), 2))


def spectrum():
    print(np.abs(np.fft.rfft(np.sin(np.arange(16) * np.pi / 4))).round(3).tolist())


def chance():
    print(
        np.random.default_rng(1).integers(0, 100, 5).tolist(),
        np.random.default_rng(1).normal(size=2).round(3).tolist(),
    )


def polynomial():
    print(np.polynomial.Polynomial.fit([0, 1, 2, 3], [1, 3, 7, 13], 2).convert().coef.round(3).tolist())


def excel():
    import io

    out = io.BytesIO()
    read().head(3).to_excel(out, index=False)
    print(pd.read_excel(io.BytesIO(out.getvalue()))["dish"].tolist())


def html():
    from io import StringIO

    text = read().head(2).to_html()
    print(pd.read_html(StringIO(text))[0]["dish"].tolist())


def xml():
    from io import StringIO

    print(pd.read_xml(StringIO(read().head(2).to_xml()))["price"].tolist())


def markdown():
    print(read().head(2).to_markdown(index=False))


def json():
    from io import StringIO

    print(pd.read_json(StringIO(read().head(2).to_json(orient="records")))["dish"].tolist())


def sql():
    import sqlite3

    with sqlite3.connect(":memory:") as base:
        read().to_sql("dishes", base)
        print(
            pd.read_sql("select dish, sum(price) as s from dishes group by dish order by s desc", base)[
                "dish"
            ].tolist()
        )


def pickle():
    import io

    out = io.BytesIO()
    read().to_pickle(out, compression={"method": "xz"})
    out.seek(0)
    print(len(pd.read_pickle(out, compression="xz")))


def pivot():
    frame = read()
    frame["month"] = frame["day"].dt.month_name()
    print(
        frame.pivot_table(
            index="dish", columns="month", values="price", aggfunc="sum", fill_value=0, observed=True
        )
    )


def rolling():
    print(
        read()["price"].rolling(3).mean().dropna().round(2).tolist(),
        read()["price"].ewm(span=3).mean().round(2).tolist()[-1],
    )


def texts():
    print(read()["dish"].str.extract(r"^(\w)\w*(\w)$", expand=True).drop_duplicates().to_numpy().tolist())


def styled():
    print(
        read().describe(include="all").shape,
        pd.Categorical(read()["dish"]).categories.tolist(),
        repr(pd.Interval(0, 1)),
    )


def saved():
    with np.errstate(all="ignore"):
        np.savez_compressed("/tmp/a.npz", a=np.arange(5), b=np.float32(1) / np.array([0.0]))
    loaded = np.load("/tmp/a.npz")
    print(
        loaded["a"].sum(),
        loaded["b"][0],
        np.info(np.ndarray.sum) is None,
        np.ma.masked_less(loaded["a"], 2).sum(),
    )


def plug():
    from importlib import import_module

    print(import_module(f"plug_{sys.argv[2]}").run(read()))


def spread():
    from multiprocessing import Pool

    with Pool(2) as pool:
        print(pool.map(_squares, [10, 100]))


def _squares(count):
    return int((np.arange(count) ** 2).sum())


if __name__ == "__main__":
    chosen = globals().get(sys.argv[1] if len(sys.argv) > 1 else "summary")
    if chosen is None or sys.argv[1].startswith("_"):
        sys.exit(f"there is no {sys.argv[1]}")
    chosen()
