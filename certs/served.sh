#!/bin/sh
# Shows what is served, and what the API server trusts: certs/served.sh [HOST:PORT]
#
# Without an address, it asks a Pod through kubectl port-forward. Needs openssl and kubectl.
set -eu
namespace=${NAMESPACE:-flipguard-system}
address=${1:-}
if [ -z "$address" ]; then
    port=$((20000 + $$ % 10000))
    kubectl -n "$namespace" port-forward deployment/flipguard "$port:reviews" >/dev/null &
    trap 'kill %1 2>/dev/null || true' EXIT
    address=127.0.0.1:$port
    until openssl s_client -connect "$address" </dev/null >/dev/null 2>&1; do sleep 1; done
fi

echo "== served at $address"
openssl s_client -connect "$address" -showcerts </dev/null 2>/dev/null |
    openssl x509 -noout -subject -issuer -dates -ext subjectAltName

bundle=$(mktemp)
leaf=$(mktemp)
trap 'rm -f "$bundle" "$leaf"; kill %1 2>/dev/null || true' EXIT
kubectl get validatingwebhookconfiguration flipguard -o jsonpath='{.webhooks[0].clientConfig.caBundle}' |
    base64 -d > "$bundle"
openssl s_client -connect "$address" </dev/null 2>/dev/null | openssl x509 > "$leaf"
echo "== trusted by the API server"
openssl crl2pkcs7 -nocrl -certfile "$bundle" | openssl pkcs7 -print_certs -noout
openssl verify -CAfile "$bundle" "$leaf"
