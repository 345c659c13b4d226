#!/bin/sh
# Makes an authority and a certificate of it for flipguard: certs/make.sh FOLDER [NAME ...]
#
# Without names, those of flipguard's Service in the namespace flipguard-system. A folder that has an authority keeps it,
# so that only the certificate is new. Needs openssl 1.1.1 or newer.
set -eu
if [ $# -lt 1 ]; then
    echo "usage: certs/make.sh FOLDER [NAME ...]" >&2
    exit 2
fi
folder=$1
shift
if [ $# -eq 0 ]; then
    set -- flipguard.flipguard-system.svc flipguard.flipguard-system.svc.cluster.local
fi
names=
for name in "$@"; do
    case $name in
        *[!0-9.]*) kind=DNS ;;
        *) kind=IP ;;
    esac
    case $name in
        *:*) kind=IP ;;
    esac
    names="$names${names:+,}$kind:$name"
done

umask 077
mkdir -p "$folder"
cd "$folder"
if [ ! -f ca.key ]; then
    openssl ecparam -name prime256v1 -genkey -noout -out ca.key
    openssl req -x509 -new -key ca.key -days 3650 -subj "/CN=flipguard authority" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" -out ca.crt
fi
openssl ecparam -name prime256v1 -genkey -noout -out tls.key.new
openssl req -new -key tls.key.new -subj "/CN=flipguard" -out tls.csr
cat > tls.ext <<EXTENSIONS
basicConstraints = CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = $names
EXTENSIONS
openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -extfile tls.ext -out tls.crt.new
mv tls.crt.new tls.crt
mv tls.key.new tls.key
rm -f tls.csr tls.ext
echo "made $folder/tls.crt for $*"
