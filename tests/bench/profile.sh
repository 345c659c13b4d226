#!/usr/bin/env bash
# Says what the API server's processor time went into, from a profile that `make bench` took while flips were sent:
#   tests/bench/profile.sh target/bench/flips-strict.pprof
set -euo pipefail
profile=${1:?which profile, such as target/bench/flips-strict.pprof}
[ -r "$profile" ] || { echo "cannot read $profile: PARTS=2 make bench writes it" >&2; exit 2; }

# What a stack is taken for: the first of these that is in it.
groups=(
    'collecting garbage=gcBgMarkWorker|gcAssist|bgsweep|bgscavenge'
    'the LISTs=handlers\.ListResource'
    'asking webhooks=plugin/webhook'
    'writes, the PATCH among them=GuaranteedUpdate|handlers\.(Update|Patch)Resource'
    'reads of one object=handlers\.GetResource'
    'talking to etcd=google\.golang\.org/grpc'
    'its caches=storage/cacher|watchChan'
    'HTTP, TLS, who asks and may they=net/http\.|golang\.org/x/net/http2|crypto/tls|apiserver/pkg/(server|endpoints)'
    'what is left=.'
)

# Milliseconds in stacks with $1 and without $2.
milliseconds() {
    go tool pprof -top -unit=ms -nodecount=100000 -nodefraction=0 -focus="$1" ${2:+-ignore="$2"} "$profile" 2>/dev/null |
        awk '$1 ~ /^[0-9.]+(ms)?$/ && $2 ~ /%$/ { sum += $1 } END { printf "%d", sum }'
}

all=$(milliseconds .)
echo "$all ms in $(go tool pprof -raw "$profile" 2>/dev/null | awk '/^Duration:/ { print $2 }') s"
before=
for group in "${groups[@]}"; do
    what=${group%%=*} stack=${group#*=}
    part=$(milliseconds "$stack" "$before")
    awk -v what="$what" -v part="$part" -v all="$all" 'BEGIN { printf "%5.1f %%  %s\n", 100 * part / all, what }'
    before=${before:+$before|}$stack
done
