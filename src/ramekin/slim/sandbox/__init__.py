"""Images run in sandboxes of their own and watched: what they open, execute, look up and listen on.

| modules | what they hold |
|---|---|
| `running`, `starting`, `reasons`, `rootfs` | a container, what can be asked of it, why it does not start |
| `warden`, `keeper`, `mounts`, `network`, `joining` | the processes and namespaces in which it lives |
| `plan`, `wire`, `commands`, `log`, `pipes` | what goes to the keeper and back, and how |
| `fanotify` | files that are opened, as the kernel reports them |
| `notified`, `filters`, `calls`, `syscalls` | system calls, held up until they are noted |
| `lookups`, `memory`, `status` | what a call names, and who makes it |
| `rights`, `modes` | the capabilities that it makes use of |
| `recorded`, `upper` | from what was seen to an observation |
"""
