"""Trees to tar and back (POSIX.1-2017, pax: "ustar Interchange Format", "pax Interchange Format").

`write` is canonical: one tree has one tar. Entries stand in the tree's order; ids are numeric and owners
have no names; a header is plain ustar wherever that can hold the entry, else it has a pax extended header
with just the records that are needed, sorted by keyword; extended attributes are `SCHILY.xattr.` records;
of several names of a file the first in order holds the bytes and the others are hard links to it; two zero
blocks end the archive, and nothing pads it to a record.

`read` takes what tar programs of the last decades wrote, from anyone. It holds one chunk of the stream in
memory and spools contents to one temporary file. What it makes of the odd cases:

- An absolute name is taken below the root, as tar does; `..` anywhere in a name is refused.
- The root itself may be an entry (`./`), if it is a folder.
- A hard link must name an earlier entry of the stream that is no folder, unless `closed` is false. A link
  to a link becomes a link to the file, one to a symbolic link or device another such, and one to itself is
  passed over (tar writes it for a file that was named twice).
- Several entries for one path are all yielded, and in a tree the last one stands, as when tar extracts.
  A file that a hard link names already is not replaced but refused: the link would change its meaning.
- Sparse members raise `SparseError`: `filling.read_filled` reads such archives, slower. Multi-volume members,
  volume labels and unknown types are refused.
- Devices and FIFOs are yielded; the caller decides.
- A stream that ends between two entries without zero blocks is complete, as for Go and GNU tar; one that
  ends anywhere else is refused. What follows the end mark is read and ignored.
- `Limits` bound all counts of bytes and entries, so that a small archive cannot fill memory or disk.
"""

from ramekin.image.tar.headers import LIMITS, Limits, SparseError
from ramekin.image.tar.reading import Skipped, SkippedError, extract, read, read_tree
from ramekin.image.tar.writing import canonical, write

__all__ = [
    "LIMITS",
    "Limits",
    "Skipped",
    "SkippedError",
    "SparseError",
    "canonical",
    "extract",
    "read",
    "read_tree",
    "write",
]
