"""Nix binary caches as a source: exact closures, without Nix.

A source is called `nix:CACHE`, where CACHE is a URL (`https:`, `http:`, `file:`, `s3:`) or a folder, or `nix`
for the caches of the settings, else of the machine's nix.conf. A package is one store path:

    Package.name         the store path's base name, `HASH-NAME`, for one closure may hold a name twice
    Package.version      the version within the name by Nix's own rule (`redis-7.2.4-man`: `7.2.4-man`), or ""
    Package.origin       the name without it (`redis`), and `origin_version` is the version
    Package.location     the store path in full, `/nix/store/HASH-NAME`
    Package.digest       the SHA-256 of the uncompressed NAR, and `size` its bytes: these are what is signed,
                         and the same whatever cache and compression the NAR comes from

The store holds the NAR uncompressed under that digest, so `store.has(package.digest)` and
`store.open(package)` mean what they mean for other sources, and trees refer to the files within it in place.
A tree has its files below `nix/store/HASH-NAME` (or is that one file or link), with the modes 0555 and 0444
and the time 1 that they have in a Nix store.

Requests: a store path, its base name or the hash alone; a package's attribute or name in the channel's files
(`redis`, `redis=7.2.4`, `openssl^dev,out`, `openssl.dev`); `FLAKE#attr`, which a local `nix` evaluates.

What is believed: a narinfo signed by a trusted key, or a store path that follows from its content (CA);
never the word of a server.
"""
