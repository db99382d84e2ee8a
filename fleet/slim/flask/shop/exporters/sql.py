import sqlite3


def write(dishes):
    with sqlite3.connect(":memory:") as base:
        base.execute("create table dish (name text, price real)")
        base.executemany("insert into dish values (?, ?)", dishes.items())
        return "\n".join(base.iterdump()), "text/plain"
