#!/bin/sh
set -e
if [ "$1" = serve ]; then
    sed "s/@HOST@/$(hostname)/" >/tmp/banner <<EOF
larder on @HOST@
EOF
    exec larder 8000
fi
exec "$@"
