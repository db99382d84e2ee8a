#!/bin/sh
set -e
if [ "$1" = nginx ]; then
    for template in /etc/nginx/conf.d/*.template; do
        envsubst '$GREETING' <"$template" >"${template%.template}"
    done
fi
exec "$@"
