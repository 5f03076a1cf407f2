#!/bin/sh
# Makes the secrets that deploy/compose.yaml names, in deploy/secrets, unless that folder is there. Prints an API key.
set -eu
cd "$(dirname "$0")"
[ ! -e secrets ] || { echo "secrets.sh: deploy/secrets is there already" >&2; exit 1; }
random() { openssl rand -hex 24; }
umask 077
mkdir secrets

api=$(random) worker=$(random)
sed -e "s/API_PASSWORD/$api/" -e "s/WORKER_PASSWORD/$worker/" -e "s/OPERATOR_PASSWORD/$(random)/" \
    -e "s/REPLICA_PASSWORD/$(random)/" -e "s/SENTINEL_PASSWORD/$(random)/" redis/users.acl > secrets/users.acl
echo "TURNWIRE_REDIS_URL=redis://turnwire-api:$api@redis:6379/0" > secrets/api.env
echo "TURNWIRE_REDIS_URL=redis://turnwire-worker:$worker@redis:6379/0" > secrets/worker.env

key=tw_$(openssl rand -base64 32 | tr '+/' '-_' | tr -d '=')
digest=$(printf %s "$key" | openssl dgst -sha256 -r | cut -d ' ' -f 1)
cat > secrets/keys.toml <<END
[[key]]
name = "first"
tenant = "default"
scopes = ["turns", "tokens", "admin"]
sha256 = "$digest"
END
# The folder is closed. The files are opened by other users in their containers.
chmod 644 secrets/users.acl secrets/keys.toml
echo "$key"
