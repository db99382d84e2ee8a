#!/bin/sh
set -e
if [ "$1" = gunicorn ]; then
    python3 manage.py migrate --noinput --verbosity 0
    python3 manage.py seed
fi
exec "$@"
