"""Functions that jobs name."""


def digest(text):
    import hashlib

    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def squeeze(text):
    import bz2
    import lzma

    raw = text.encode() * 100
    return [len(bz2.compress(raw)) < len(raw), lzma.decompress(lzma.compress(raw)) == raw]


def shell(word):
    import subprocess

    return subprocess.run(
        ["/bin/sh", "-c", 'echo "$0"', word], capture_output=True, text=True, check=True
    ).stdout


def spread(*words):
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(str.upper, words))


def gather(*words):
    import asyncio

    async def one(word):
        await asyncio.sleep(0)
        return word[::-1]

    async def all_of_them():
        return await asyncio.gather(*map(one, words))

    return asyncio.run(all_of_them())
